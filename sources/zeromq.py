"""Keypoints of other programs over ZeroMQ."""

import errno
import logging
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from sources.keypoint_receiver import Receiver
from stream.errors import ConfigError, SourceLost, SourceUnavailable
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext
from stream.wire.schema import MAX_BYTES

if TYPE_CHECKING:
    import zmq

log = logging.getLogger("poselift")

_MOST_WAITING = 1000  # messages, read at once for the newest of them
_LOOPBACK = ("tcp://127.", "tcp://localhost:", "tcp://[::1]:", "ipc://", "inproc://")


class ZeroMQ:
    """Subscribes to `keypoints2d` messages: two parts [topic, payload], or the payload alone.

    One source may bring many cameras: every message keeps its own source name.
    """

    live = True

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """endpoint: to connect to, or, with bind, to wait for publishers at.

        topic: prefix of the topics to take; "" takes all, which payloads without a topic need.
        newest_only: of messages that wait under one topic only the newest is read, the rest are
        counted as dropped. timeout_s: seconds of silence after which the source counts as lost.
        """

        endpoint: str = "tcp://127.0.0.1:5557"
        bind: bool = False
        topic: str = "keypoints2d/v1/"
        newest_only: bool = False
        timeout_s: float = 5.0

        def __post_init__(self) -> None:
            port = self.endpoint.rpartition(":")[2]
            # ZeroMQ would take 99999 for 34463.
            if "://" not in self.endpoint or (port.isdecimal() and int(port) > 65535):
                raise ConfigError(
                    f"zeromq endpoint: expected something like tcp://127.0.0.1:5557, got {self.endpoint!r}"
                )
            if self.timeout_s <= 0:
                raise ConfigError(f"zeromq timeout_s: expected a number above 0, got {self.timeout_s}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.endpoint = settings.endpoint  # once bound, with the port that was got
        self._settings = settings
        self._context = context
        self._receiver = Receiver(context, settings.timeout_s)
        self._zmq: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._timeout_ms: int | None = None  # of the socket
        self._waiting: deque[bytes] = deque()

    def open(self) -> None:
        import zmq

        settings = self._settings
        self._zmq = zmq.Context()
        socket = self._socket = self._zmq.socket(zmq.SUB)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)  # ms; notices a publisher whose machine is gone
        socket.setsockopt(zmq.SUBSCRIBE, settings.topic.encode())
        try:
            if settings.bind:
                socket.bind(settings.endpoint)
                self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
            else:
                socket.connect(settings.endpoint)
        except zmq.ZMQError as error:
            self.close()
            if error.errno in (zmq.EADDRINUSE, zmq.EADDRNOTAVAIL, errno.ENODEV):
                raise SourceUnavailable(f"{settings.endpoint} cannot be bound now: {error}") from None
            raise ConfigError(
                f"{self._context.name}.endpoint: expected something like tcp://127.0.0.1:5557, "
                f"got {settings.endpoint!r}: {error}"
            ) from None
        if settings.bind and not settings.endpoint.startswith(_LOOPBACK):
            log.warning(
                "%s: everybody who reaches %s can send keypoints", self._context.name, settings.endpoint
            )
        self._receiver.start()

    def close(self) -> None:
        if self._zmq is not None:
            self._zmq.destroy(linger=0)
        self._zmq = self._socket = self._timeout_ms = None
        self._waiting.clear()

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The next message's keypoints; None also when it was none of ours."""
        if self._socket is None:
            raise SourceLost(f"{self._context.name} is closed")
        if not self._waiting:
            first = self._next(max(0, round(timeout_s * 1000)))
            self._waiting.extend(self._newest(first) if first and self._settings.newest_only else first[-1:])
        frame = self._receiver.frame(self._waiting.popleft()) if self._waiting else None
        if frame is None and (silence := self._receiver.silence()):
            raise SourceLost(f"{self.endpoint}: {silence}")
        return frame

    def _next(self, timeout_ms: int) -> list[bytes]:
        """Topic and payload of the next message; none when there is none in time."""
        import zmq

        assert self._socket is not None
        if timeout_ms != self._timeout_ms:  # waiting in the call that receives wakes up sooner than a poll
            self._socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
            self._timeout_ms = timeout_ms
        try:
            parts = self._socket.recv_multipart()
        except zmq.Again:
            return []
        return parts if len(parts) <= 2 else [b""]  # which is no message, and counted so

    def _newest(self, parts: list[bytes]) -> list[bytes]:
        """The last message of every topic that has any, `parts` the first, in the order topics first came."""
        newest: dict[bytes, bytes] = {}
        read = 0
        while parts:
            newest[parts[0] if len(parts) == 2 else b""] = parts[-1]
            read += 1
            # Bounded: a sender that is faster than this loop must not hold it.
            parts = self._next(0) if read < _MOST_WAITING else []
        if dropped := read - len(newest):
            self._context.health.increment(self._context.name, "drop.newest_wins", dropped)
        return list(newest.values())
