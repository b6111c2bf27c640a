// The socket to the server: connects, reconnects, measures the offset of the clocks.

const PING_MS = 1000;
const SILENCE_MS = 6000; // without an answer to pings the connection counts as broken
const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 4000;
const TOKEN = "poselift-token";

function encoded(token) {
  const bytes = new TextEncoder().encode(token);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function takeTokenFromAddress() {
  const match = location.hash.match(/^#token=(.+)$/);
  if (!match) return;
  sessionStorage.setItem(TOKEN, decodeURIComponent(match[1]));
  history.replaceState(null, "", location.pathname);
}

// A binary message: a document, a newline, a file.
function parts(bytes) {
  const end = bytes.indexOf(10);
  return [JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))), bytes.subarray(end + 1)];
}

export class Connection {
  // onState gets ("connecting" | "open" | "token" | "full" | "closed", text).
  constructor(onDocument, onFile, onState) {
    this.onDocument = onDocument;
    this.onFile = onFile;
    this.onState = onState;
    this.offset_ms = 0; // server's Unix time minus performance.now()
    this.retry_ms = MIN_RETRY_MS;
    this.bestRoundTrip_ms = Infinity;
    takeTokenFromAddress();
  }

  setToken(token) {
    sessionStorage.setItem(TOKEN, token);
    this.connect();
  }

  async connect() {
    const token = sessionStorage.getItem(TOKEN);
    let access;
    try {
      const headers = token ? { Authorization: `Bearer ${encoded(token)}` } : {};
      access = await fetch("access", { headers, cache: "no-store" });
      if (access.status === 401) return this.onState("token", token ? "This token is wrong." : "");
      if (access.status === 503) {
        this.onState("full", (await access.text()).trim());
        return void setTimeout(() => this.connect(), MAX_RETRY_MS);
      }
    } catch {
      return this.retry();
    }
    const address = new URL("socket", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    address.hash = "";
    const socket = new WebSocket(address, ["poselift.v1", ...(token ? [`token.${encoded(token)}`] : [])]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.opened(socket);
    socket.onmessage = (event) => this.received(event.data);
    socket.onclose = () => this.closed(socket);
    this.socket = socket;
  }

  opened(socket) {
    this.retry_ms = MIN_RETRY_MS;
    this.bestRoundTrip_ms = Infinity;
    this.heardAt = performance.now();
    this.timer = setInterval(() => {
      if (performance.now() - this.heardAt > SILENCE_MS) this.closed(socket);
      else this.send({ type: "ping", sent: performance.now() });
    }, PING_MS);
    this.onState("open", "");
  }

  closed(socket) {
    if (this.socket !== socket) return;
    this.socket = null;
    clearInterval(this.timer);
    socket.close();
    this.retry();
  }

  retry() {
    this.onState("closed", "");
    setTimeout(() => this.connect(), this.retry_ms);
    this.retry_ms = Math.min(2 * this.retry_ms, MAX_RETRY_MS);
  }

  send(request) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(request));
  }

  received(data) {
    const now = performance.now();
    this.heardAt = now;
    if (typeof data !== "string") return this.onFile(...parts(new Uint8Array(data)));
    const document_ = JSON.parse(data);
    switch (document_.schema) {
      case "pong": {
        // The answer with the shortest round trip gives the server's clock best.
        const roundTrip_ms = now - document_.sent;
        this.bestRoundTrip_ms += 1; // so that a drifting clock is followed
        if (roundTrip_ms <= this.bestRoundTrip_ms) {
          this.bestRoundTrip_ms = roundTrip_ms;
          this.offset_ms = document_.unix_ms - (now + document_.sent) / 2;
        }
        return;
      }
      case "file":
        return this.onFile(document_, null); // without a file: the reason
      case "viewer":
        if (this.bestRoundTrip_ms === Infinity) this.offset_ms = document_.unix_ms - now;
      // falls through
      default:
        this.onDocument(document_, now);
    }
  }
}
