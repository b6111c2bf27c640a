"""Prometheus sink: serves metrics and the answers that supervisors ask for over HTTP.

/metrics  metrics of the node in Prometheus's text format
/healthz  200 while the process and its threads run; restart the process after 503
/readyz   200 while frames or poses arrive and all sinks are open; send no robot there after 503
"""

import contextlib
import errno
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec

from stream.errors import AddressInUse, ConfigError
from stream.health import stalled_threads
from stream.messages import Message, PoseFrame
from stream.protocols import ComponentContext
from stream.security import require_encryption

if TYPE_CHECKING:
    from sinks.prometheus.collector import NodeCollector

REQUEST_TIMEOUT_S = 5.0  # for a client to send its request
MAX_CONNECTIONS = 64  # each has a thread
_TEXT = "text/plain; charset=utf-8"


class Prometheus:
    """Serves metrics of the node at /metrics, and /healthz and /readyz for supervisors."""

    close_timeout_s = 2.0

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of the metrics.

        host: Address of the network interface to listen on.

        port: TCP port; 0 picks a free one.

        stalled_s: Seconds without a turn of a source or lift thread after which /healthz answers 503.

        silent_s: Seconds without a frame and without a pose after which /readyz answers 503.

        insecure: Answer other machines too, unencrypted. An address that other machines can reach is refused
        unless this is true.
        """

        host: str = "127.0.0.1"
        port: int = 9464
        stalled_s: float = 30.0
        silent_s: float = 5.0
        insecure: bool = False

        def __post_init__(self) -> None:
            if not 0 <= self.port < 65536:
                raise ConfigError(f"prometheus port: expected 0 to 65535, got {self.port}")
            for name in ("stalled_s", "silent_s"):
                if not getattr(self, name) > 0:
                    raise ConfigError(
                        f"prometheus {name}: expected seconds above 0, got {getattr(self, name)}"
                    )
            require_encryption("prometheus", self.host, self.insecure, "host: 127.0.0.1")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._collector, self._registry = _registry(context)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.endpoint = f"http://{settings.host}:{settings.port}/metrics"  # once open, with the actual port

    def open(self) -> None:
        """Listen; AddressInUse while the port is taken, ConfigError for a wrong host."""
        address = self._settings.host, self._settings.port
        try:
            server = _Server(address, self)
        except OSError as error:
            place = f"port {address[1]} of {address[0]} cannot be bound: {error.strerror}"
            if error.errno == errno.EADDRINUSE:
                raise AddressInUse(f"{place}; end the program that uses it or set another port") from None
            raise ConfigError(f"{self._context.name}: {place}") from None
        self.endpoint = f"http://{address[0]}:{server.server_address[1]}/metrics"
        name = f"http:{self._context.name}"
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and release the port."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._server = self._thread = None

    def send(self, message: Message) -> None:
        """Count a pose frame; other messages are ignored."""
        if isinstance(message, PoseFrame):
            self._collector.add(message)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """HTTP status, content type and content of a page."""
        if path == "/metrics":
            from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        problems = {"/healthz": self._health_problems, "/readyz": self._readiness_problems}.get(path)
        if problems is None:
            return 404, _TEXT, b"pages: /metrics /healthz /readyz\n"
        lines = problems()
        return (503 if lines else 200), _TEXT, ("\n".join(lines or ["ok"]) + "\n").encode()

    def _health_problems(self) -> list[str]:
        stalled = stalled_threads(
            self._context.health, self._context.clock.now_ns(), self._settings.stalled_s
        )
        return [f"thread {name} has made no turn for {age_s:.0f} s" for name, age_s in stalled.items()]

    def _readiness_problems(self) -> list[str]:
        health, now_ns = self._context.health, self._context.clock.now_ns()
        sources = {thread.removeprefix("source:") for thread in health.ages_s("loop", now_ns)}
        problems = [
            f"{name} is {state['state']}: {state['detail']}"
            for name, state in health.report()["states"].items()
            if name not in sources and state["state"] not in ("ok", "ended")
        ]
        ages_s = [*health.ages_s("frame", now_ns).values(), *self._collector.last_pose_ages_s().values()]
        if min(ages_s, default=float("inf")) > self._settings.silent_s:
            problems.append(f"no frame and no pose for {self._settings.silent_s:g} s")
        return [*self._health_problems(), *problems]


class _Server(ThreadingHTTPServer):
    """Hands the requests to the sink; one short-lived thread per connection.

    Of too many connections the oldest is closed, so that idle ones keep no supervisor out.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], sink: Prometheus) -> None:
        self.sink = sink
        self._connections: dict[int, socket.socket] = {}  # by descriptor, oldest first
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections[request.fileno()] = request
            if len(self._connections) > MAX_CONNECTIONS:
                oldest = self._connections.pop(next(iter(self._connections)))
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # which ends its thread
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request.fileno(), None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event worth a log line."""


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:
        status, kind, content = self.server.sink.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: a scraper sends one every few seconds."""


def _registry(context: ComponentContext) -> tuple["NodeCollector", Any]:
    """A registry with the metrics of the node and of its process; ConfigError without the package."""
    try:
        from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

        from sinks.prometheus.collector import NodeCollector
    except ImportError as error:
        raise ConfigError(
            f"the sink prometheus needs the package prometheus-client ({error}); "
            "pip install 'poselift[metrics]'"
        ) from None
    collector = NodeCollector(context.health, context.clock)
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return collector, registry
