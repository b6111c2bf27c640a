"""The connection from a worker process to its supervisor: messages, reports and heartbeats, one direction.

Every message has two parts. Messages for subscribers are [topic, encoded message], as the ZeroMQ sink sends
them; reports are [b"worker/<name>", text]. Both come over a local socket that only this worker connects to,
so the supervisor knows the worker of every message, and closing the socket discards the rest of them.
"""

import threading
import time
from typing import Literal

import msgspec
import zmq

from stream.errors import SinkUnavailable
from stream.messages import Message, PoseFrame
from stream.protocols import ComponentContext
from stream.wire import codec as wire
from stream.wire.topics import topic_of

REPORT = b"worker/"
HEARTBEAT_S = 0.2
QUEUE = 64  # messages between a worker and the supervisor; few, because late poses are of no use
_SEND_TIMEOUT_MS = 200
_LINGER_MS = 500

# alive: a heartbeat. ready: the lifter is loaded. running: the sources are open. config_error and error: the
# reason why the worker gives up, in the text.
Report = Literal["alive", "ready", "running", "config_error", "error"]


class LinkKeys(msgspec.Struct, frozen=True):
    """CURVE keys of a connection between machines: the worker's pair and the supervisor's public key."""

    public: bytes
    secret: bytes
    server: bytes

    def apply(self, socket: "zmq.Socket[bytes]") -> None:
        """Encrypt what the socket exchanges with the supervisor; call it before connecting."""
        socket.set(zmq.CURVE_PUBLICKEY, self.public)
        socket.set(zmq.CURVE_SECRETKEY, self.secret)
        socket.set(zmq.CURVE_SERVERKEY, self.server)


class WorkerSink:
    """The only sink of a worker: hands its messages to the supervisor, which has the sinks of the config."""

    endpoint = ""
    close_timeout_s = 1.0

    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        """address: of the supervisor's socket for this worker. keys: of the connection; None for none."""

        address: str
        keys: "LinkKeys | None" = None

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._component = context
        self._socket: _PushSocket | None = None

    def open(self) -> None:
        self._socket = _PushSocket(self._settings.address, self._settings.keys)

    def close(self) -> None:
        """Hand over the queued messages for up to half a second, then disconnect."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def send(self, message: Message) -> None:
        """Hand a message over; dropped and counted when the supervisor takes none for 0.2 s."""
        if self._socket is None:
            raise SinkUnavailable("the connection to the supervisor is closed")
        if isinstance(message, PoseFrame):
            message = wire.with_publish_time(message, self._component.clock)
        if not self._socket.send([topic_of(message), wire.encode(message)]):
            self._component.health.increment(self._component.name, "drop.supervisor_slow")


class Reporter:
    """Sends a worker's reports, and a heartbeat every HEARTBEAT_S from a thread of its own.

    A heartbeat carries the monotonic time at which it was sent. It stops when the process is frozen, when it
    ends, and while one call holds the interpreter.
    """

    def __init__(self, address: str, keys: LinkKeys | None = None) -> None:
        self._socket = _PushSocket(address, keys)
        self._lock = threading.Lock()  # a ZeroMQ socket may be used by one thread at a time
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Reporter":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def report(self, report: Report, text: str = "") -> None:
        with self._lock:
            self._socket.send([REPORT + report.encode(), text.encode()])

    def _run(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            self.report("alive", str(time.monotonic_ns()))


class _PushSocket:
    """A connected PUSH socket with a context of its own, as a worker is the only user."""

    def __init__(self, address: str, keys: LinkKeys | None) -> None:
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.PUSH)
        self._socket.set(zmq.SNDHWM, QUEUE)
        self._socket.set(zmq.SNDTIMEO, _SEND_TIMEOUT_MS)
        if keys is not None:
            keys.apply(self._socket)
        self._socket.connect(address)

    def send(self, parts: list[bytes]) -> bool:
        """Whether the message was queued in time."""
        try:
            self._socket.send_multipart(parts)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        self._socket.close(linger=_LINGER_MS)
        self._context.term()
