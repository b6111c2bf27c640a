"""Keypoints of other programs over ZeroMQ."""

import errno
import logging
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

from sources.keypoint_receiver import DISCARD_S, KeypointReceiver
from stream.connection_guard import ConnectionGuard
from stream.errors import AddressInUse, ConfigError, SourceLost, SourceUnavailable
from stream.keepalive import keep_alive
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext
from stream.security import BindingSettings, client_keys, is_loopback
from stream.wire.schema import MAX_BYTES

if TYPE_CHECKING:
    import zmq

log = logging.getLogger("poselift")

MAX_BATCH = 1000  # messages read at once with newest_only: a fast sender must not keep `read` busy for ever
MAX_WAITING = 64  # messages per sender that wait for `read`; a sender behind that has to wait or drop
MAX_TOTAL_BYTES = 1 << 24  # of all messages that wait, also of parts of one message
# The kernel's, per sender: what waits there is old, and a flood takes less memory before it is noticed.
RECEIVE_BUFFER_BYTES = 1 << 16
REFILL_BYTES_PER_S = 10_000.0  # handshakes, and heartbeats of senders that send such
PART_OVERHEAD_BYTES = 9  # length and flags of a part


class ZeroMQ:
    """Receives keypoints of other programs: `keypoints2d` messages, [topic, payload] or the payload alone.

    One source may deliver the keypoints of many cameras: every message keeps its own source name.
    """

    live = True

    class Settings(BindingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of keypoints over ZeroMQ.

        endpoint: Address of the publisher to connect to, or with `bind` the address to accept publishers at.

        bind: Wait for publishers at `endpoint` in place of connecting.

        topic: Prefix of the topics to subscribe to; "" subscribes to all, and also accepts messages without a
        topic.

        newest_only: Read only the newest of the messages that wait under one topic; the others count as
        dropped.

        timeout_s: Seconds without a valid message after which the source counts as lost.

        curve_secret_file: File with this node's CURVE secret key (.key_secret), to encrypt messages and to
        authenticate both sides; null disables CURVE.

        curve_clients_folder: Folder with the public keys (.key) of the publishers that may connect; required
        with `curve_secret_file` and `bind`.

        curve_server_file: Public key (.key) of the publisher to connect to; required with `curve_secret_file`
        and without `bind`.

        insecure: Accept keypoints of every machine of the network, unencrypted. Binding to an address that
        other machines can reach is refused without CURVE unless this is true.
        """

        endpoint: str = "tcp://127.0.0.1:5557"
        bind: bool = False
        topic: str = "keypoints2d/v1/"
        newest_only: bool = False
        timeout_s: float = 5.0
        curve_server_file: str | None = None

        def __post_init__(self) -> None:
            port = self.endpoint.rpartition(":")[2]
            # ZeroMQ would take port 99999 modulo 65536.
            if "://" not in self.endpoint or (port.isdecimal() and int(port) > 65535):
                raise ConfigError(
                    f"zeromq endpoint: expected an address like tcp://127.0.0.1:5557, got {self.endpoint!r}"
                )
            if self.timeout_s <= 0:
                raise ConfigError(f"zeromq timeout_s: expected a number above 0, got {self.timeout_s}")
            if self.bind:
                if self.curve_server_file is not None:
                    raise ConfigError("zeromq curve_server_file: expected only without bind")
                host = "localhost" if _is_local(self.endpoint) else self.endpoint
                self.check_binding("zeromq", host)
            elif self.curve_clients_folder is not None:
                raise ConfigError("zeromq curve_clients_folder: expected only with bind")
            elif (self.curve_secret_file is None) != (self.curve_server_file is None):
                raise ConfigError(
                    "zeromq: CURVE needs both curve_secret_file and curve_server_file; set both"
                )

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.endpoint = settings.endpoint  # once bound, with the actual port
        self._settings = settings
        self._context = context
        self._server_keys = settings.server_keys()
        self._client_keys = (
            None if settings.bind else client_keys(settings.curve_secret_file, settings.curve_server_file)
        )
        self._resources = ExitStack()
        self._receiver = KeypointReceiver(context, settings.timeout_s)
        self._zmq: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._guard: ConnectionGuard | None = None
        self._timeout_ms: int | None = None  # the receive timeout that is set on the socket
        self._payloads: deque[bytes] = deque()  # received, not decoded yet

    def open(self) -> None:
        """Connect or bind. Raises ConfigError, and SourceUnavailable when the port is in use."""
        import zmq

        settings = self._settings
        self._zmq = zmq.Context()
        socket = self._socket = self._zmq.socket(zmq.SUB)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        socket.setsockopt(zmq.RCVHWM, MAX_WAITING)
        socket.setsockopt(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)
        keep_alive(socket)
        socket.setsockopt(zmq.SUBSCRIBE, settings.topic.encode())
        if self._server_keys is not None:
            self._server_keys.apply(socket, self._resources)
        elif self._client_keys is not None:
            self._client_keys.apply(socket)
        self._guard = ConnectionGuard(
            socket, self._context.name, self._context.clock, None, MAX_TOTAL_BYTES, REFILL_BYTES_PER_S
        )
        self._guard.start()
        try:
            if settings.bind:
                socket.bind(settings.endpoint)
                self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
            else:
                socket.connect(settings.endpoint)
        except zmq.ZMQError as error:
            self.close()
            if error.errno in (zmq.EADDRINUSE, zmq.EADDRNOTAVAIL, errno.ENODEV):
                kind = AddressInUse if error.errno == zmq.EADDRINUSE else SourceUnavailable
                raise kind(f"{settings.endpoint} cannot be bound now: {error}") from None
            raise ConfigError(
                f"{self._context.name}.endpoint: expected an address like tcp://127.0.0.1:5557, "
                f"got {settings.endpoint!r}: {error}"
            ) from None
        if settings.bind and self._server_keys is None and not _is_local(settings.endpoint):
            log.warning(
                "%s: any program that reaches %s can send keypoints", self._context.name, settings.endpoint
            )
        self._receiver.start()

    def close(self) -> None:
        if self._guard is not None:
            self._guard.close()
        self._resources.close()
        if self._zmq is not None:
            self._zmq.destroy(linger=0)
        self._guard = None
        self._zmq = self._socket = self._timeout_ms = None
        self._payloads.clear()

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The keypoints of the next message; None also when it is invalid. Raises SourceLost."""
        if self._socket is None:
            raise SourceLost(f"{self._context.name} is closed")
        if not self._payloads:
            parts = self._receive(max(0, round(timeout_s * 1000)))
            if self._receiver.paused(timeout_s):
                parts = []
                self._receiver.count_late(self._discard_waiting())
            if parts and self._settings.newest_only:
                self._payloads.extend(self._newest_payloads(parts))
            else:
                self._payloads.extend(parts[-1:])
        frame = self._receiver.decode(self._payloads.popleft()) if self._payloads else None
        if frame is None and (message := self._receiver.timeout_message()):
            raise SourceLost(f"{self.endpoint}: {message}")
        return frame

    def _receive(self, timeout_ms: int) -> list[bytes]:
        """The parts of the next message, topic and payload or payload alone; [] after `timeout_ms`."""
        import zmq

        assert self._socket is not None
        if timeout_ms != self._timeout_ms:  # a timeout of the receiving call wakes up sooner than a poll
            self._socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
            self._timeout_ms = timeout_ms
        try:
            parts = self._socket.recv_multipart()
        except zmq.Again:
            return []
        assert self._guard is not None
        self._guard.allow(sum(map(len, parts)) + PART_OVERHEAD_BYTES * len(parts))
        return parts if len(parts) <= 2 else [b""]  # an empty payload counts as an invalid message

    def _discard_waiting(self) -> int:
        """Read and drop what waits, for DISCARD_S; returns the number of messages."""
        count, clock = 0, self._context.clock
        until_ns = clock.now_ns() + round(DISCARD_S * 1e9)
        while clock.now_ns() < until_ns and self._receive(round(DISCARD_S * 1000)):
            count += 1
        return count

    def _newest_payloads(self, parts: list[bytes]) -> list[bytes]:
        """The newest waiting payload of every topic, in the order in which the topics came first.

        parts: of the first message.
        """
        newest: dict[bytes, bytes] = {}
        count = 0
        while parts:
            newest[parts[0] if len(parts) == 2 else b""] = parts[-1]
            count += 1
            parts = self._receive(0) if count < MAX_BATCH else []
        if dropped := count - len(newest):
            self._context.health.increment(self._context.name, "drop.newest_wins", dropped)
        return list(newest.values())


def _is_local(endpoint: str) -> bool:
    """Whether only programs on this machine can reach `endpoint`."""
    transport, _, address = endpoint.partition("://")
    return transport in ("ipc", "inproc") or is_loopback(address.rpartition(":")[0])
