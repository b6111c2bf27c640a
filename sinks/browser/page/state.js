// The state of the view in words: {name, health, text, banner, message}.

const seconds = (ms) => (ms < 60_000 ? `${Math.floor(ms / 1000)} s` : `${Math.floor(ms / 60_000)} min`);
const time = (date) => date?.toLocaleTimeString([], { hour12: false }) ?? "";

function ofLink({ state, text, since, at }, now) {
  switch (state) {
    case "connecting":
      return { name: "connecting", health: "", text: "Connecting", message: "Connecting …" };
    case "token":
      return { name: "token", health: "stale", text: "Token needed" };
    case "full":
      return { name: "full", health: "stale", text: "Too many viewers", message: text };
    case "closed": {
      if (now - since < 300 || !at) return null; // a short interruption is not worth a word
      const words = `Disconnected since ${time(at)}`;
      return { name: "disconnected", health: "stale", text: words, banner: `${words}, connecting again …` };
    }
  }
  return null;
}

function people(shown) {
  const living = (frame) => frame.persons.filter(({ state }) => state !== "lost").length;
  return shown.reduce((sum, { frame }) => sum + living(frame), 0);
}

// Problems that the sender reports about its parts, such as a lost camera.
function trouble(sources, status) {
  for (const { name } of sources) {
    const state = status?.report.states?.[name];
    if (state && !["ok", "ended"].includes(state.state)) return `${name}: ${state.state}, ${state.detail}`;
    if (state?.state === "ended") return `${name} has ended`;
  }
  return null;
}

function ofData({ sources, status, shown, now }) {
  if (!sources.length) {
    return { name: "waiting", health: "", text: "Waiting", message: "Connected. Waiting for the first poses …" };
  }
  const healths = sources.map((source) => source.health(now));
  if (healths.includes("live")) {
    const count = people(shown);
    return { name: "live", health: "live", text: `Live: ${count === 1 ? "1 person" : `${count} people`}` };
  }
  const arrivals = sources.map(({ newest }) => newest?.arrived ?? -Infinity);
  const silence = now - Math.max(...arrivals);
  const reason = trouble(sources, status);
  if (healths.includes("empty")) {
    const quiet = reason ?? "No person in sight";
    return { name: "empty", health: "empty", text: reason ? "No poses" : quiet, message: quiet };
  }
  if (silence === Infinity) {
    return { name: "waiting", health: "", text: "Waiting", message: reason ?? "Waiting for the first poses …" };
  }
  const words = `No data for ${seconds(silence)}`;
  return { name: "stale", health: "stale", text: words, banner: reason ? `${words} (${reason})` : words };
}

export function describe(view) {
  const { link, paused, shown, now } = view;
  const broken = ofLink(link, now);
  if (paused) {
    const back = (paused.end - paused.t) / 1000;
    const text = back < 0.05 ? "Paused" : `Paused, ${back.toFixed(1)} s back`;
    return { name: "paused", health: broken?.health ?? "", text };
  }
  if (broken && (broken.name !== "connecting" || !shown.length)) return broken;
  return ofData(view);
}
