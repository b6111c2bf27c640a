"""ZeroMQ sink: publishes messages as two parts, [topic, MessagePack document].

With CURVE (see `stream.security`) everything is encrypted and only listed clients may subscribe.
"""

import logging
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from sinks.max_age import MaxAge
from stream.connection_guard import ConnectionGuard
from stream.errors import AddressInUse, ConfigError, SinkUnavailable
from stream.keepalive import keep_alive
from stream.messages import Message, PoseFrame
from stream.protocols import ComponentContext
from stream.security import BindingSettings, is_loopback
from stream.wire import codec as wire
from stream.wire.topics import topic_of

if TYPE_CHECKING:
    import zmq

log = logging.getLogger("poselift")

MAX_SEND_WAIT_MS = 20  # how long a full queue may delay a message before it is dropped
LINGER_MS = 200  # how long closing may take to send the queued messages
SEND_BUFFER_BYTES = 1 << 16  # the kernel's, per subscriber: what waits there is old when it is read at last
# What subscribers may send, which is subscriptions: every byte of them takes about 100 bytes of memory.
MAX_SUBSCRIPTION_BYTES = 1024  # one subscription; a topic has at most 200 characters and its prefix
MAX_CONNECTION_BYTES = 1 << 13  # all subscriptions of one subscriber
MAX_TOTAL_BYTES = 1 << 19  # of all subscribers together
MAX_WAITING_SUBSCRIPTIONS = 8  # per subscriber, so that sending never spends long on them
RECEIVE_BUFFER_BYTES = 1 << 14
UNANSWERED_MS = 3000  # after so long without an acknowledgement by TCP the connection counts as lost
REFILL_BYTES_PER_S = 1000.0  # heartbeats take some 10 bytes every 2 seconds


class ZeroMQ:
    """A PUB socket that never blocks: a slow subscriber misses messages, the others get all of them."""

    close_timeout_s = 1.0

    class Settings(BindingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of poses over ZeroMQ.

        host: Address of the network interface to publish on; "0.0.0.0" publishes on all.

        port: TCP port; 0 picks a free one.

        queue: Messages kept for a subscriber that is slow; further ones are dropped for it.

        max_age_ms: Poses older than this are not sent; null sends poses of any age.
        """

        host: str = "127.0.0.1"
        port: int = 5555
        queue: int = 8
        max_age_ms: float | None = 3000.0

        def __post_init__(self) -> None:
            if not 0 <= self.port < 65536:
                raise ConfigError(f"zeromq port: expected 1 to 65535, or 0 for any free one, got {self.port}")
            if self.queue < 1:
                raise ConfigError(f"zeromq queue: expected a number from 1, got {self.queue}")
            if self.max_age_ms is not None and not self.max_age_ms > 0:
                raise ConfigError(f"zeromq max_age_ms: expected more than 0, or null, got {self.max_age_ms}")
            self.check_binding("zeromq", self.host)

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._keys = settings.server_keys()
        self._socket: zmq.Socket[bytes] | None = None
        self._resources = ExitStack()
        self._max_age = None if settings.max_age_ms is None else MaxAge(settings.max_age_ms, context)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.endpoint = f"tcp://{host}:{settings.port}"  # once open, with the actual port

    def open(self) -> None:
        """Bind the socket; SinkUnavailable while the port is taken, ConfigError for a wrong host or key."""
        import zmq

        settings = self._settings
        with ExitStack() as resources:
            context = zmq.Context()
            resources.callback(context.term)
            socket = context.socket(zmq.PUB)
            resources.callback(socket.close, linger=LINGER_MS)
            socket.set(zmq.SNDHWM, settings.queue)
            socket.set(zmq.SNDBUF, SEND_BUFFER_BYTES)
            socket.set(zmq.MAXMSGSIZE, MAX_SUBSCRIPTION_BYTES)
            socket.set(zmq.RCVHWM, MAX_WAITING_SUBSCRIPTIONS)
            socket.set(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.IPV6, int(":" in settings.host))
            keep_alive(socket)
            socket.set(zmq.TCP_MAXRT, UNANSWERED_MS)  # what waits in the connection then is old
            socket.set(zmq.XPUB_NODROP, 1)  # A full queue becomes an error, so that `send` can count it.
            if self._keys is not None:
                self._keys.apply(socket, resources)
            elif not is_loopback(settings.host):
                log.warning(
                    "%s: every machine that can reach %s can receive the poses",
                    self._context.name,
                    self.endpoint,
                )
            guard = ConnectionGuard(
                socket,
                self._context.name,
                self._context.clock,
                MAX_CONNECTION_BYTES,
                MAX_TOTAL_BYTES,
                REFILL_BYTES_PER_S,
            )
            resources.callback(guard.close)
            guard.start()
            self._bind(socket)
            self._socket, self._resources = socket, resources.pop_all()

    def close(self) -> None:
        """Send the queued messages for up to LINGER_MS, then release the port."""
        self._socket = None
        self._resources.close()

    def send(self, message: Message) -> None:
        """Publish a message of any kind; SinkUnavailable when the socket is closed."""
        if isinstance(message, PoseFrame):
            if self._max_age is not None and (fresh := self._max_age.fresh(message)) is not message:
                if not fresh.persons:
                    return
                message = fresh
            message = wire.with_publish_time(message, self._context.clock)
        self.send_encoded(topic_of(message), wire.encode(message))

    def is_too_old(self, captured_unix_ns: int) -> bool:
        """Whether `send` would leave out the poses of a frame captured at this time."""
        return self._max_age is not None and self._max_age.has_passed(captured_unix_ns)

    def send_encoded(self, topic: bytes, payload: bytes) -> None:
        """Publish an encoded message under `topic`, whatever its age; SinkUnavailable when the socket is
        closed.
        """
        import zmq

        if self._socket is None:
            raise SinkUnavailable(f"{self.endpoint} is not open")
        parts = [topic, payload]
        # A burst can outrun ZeroMQ's thread, which empties the queues: wait some milliseconds for it.
        for _ in range(MAX_SEND_WAIT_MS):
            if self._try_send(parts):
                return
            time.sleep(0.001)
        # A subscriber is too slow: send to the others. ZeroMQ then drops that subscriber's messages without
        # an error until it has caught up, so this counts episodes; gaps in `seq` count messages.
        self._context.health.increment(self._context.name, "drop.subscriber_slow")
        self._socket.set(zmq.XPUB_NODROP, 0)
        self._try_send(parts)
        self._socket.set(zmq.XPUB_NODROP, 1)

    def _try_send(self, parts: list[bytes]) -> bool:
        import zmq

        assert self._socket is not None
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _bind(self, socket: "zmq.Socket[bytes]") -> None:
        import zmq

        host, port = self.endpoint.rsplit(":", 1)
        try:
            socket.bind(f"{host}:{'*' if port == '0' else port}")
        except zmq.ZMQError as error:
            if error.errno in (zmq.EADDRINUSE, zmq.EADDRNOTAVAIL):
                kind = AddressInUse if error.errno == zmq.EADDRINUSE else SinkUnavailable
                raise kind(
                    f"port {port} of {self._settings.host} cannot be bound: {error.strerror}; end the "
                    "program that uses it (another node?) or set another port"
                ) from error
            raise ConfigError(
                f"{self._context.name}: expected the address of one of this machine's interfaces as host, "
                f"got {self._settings.host!r}: {error.strerror}"
            ) from error
        self.endpoint = str(socket.get_string(zmq.LAST_ENDPOINT)).rstrip("\0")
