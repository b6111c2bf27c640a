"""Subscribe to the poses of a poselift node over ZeroMQ; needs only numpy, pyzmq and msgspec.

from stream import subscribe

for poses in subscribe("tcp://127.0.0.1:5555", newest=True):
    for person in poses.persons:
        print(person.id, person.state, person.xyz[10], f"{poses.age_ms():.0f} ms old")
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Self

import zmq

from stream.clock import SystemClock
from stream.errors import ConfigError, DecodeError, SourceLost
from stream.keepalive import keep_alive
from stream.messages import KeypointFrame, Message, PoseFrame
from stream.rate_limited_log import INTERVAL_S, RateLimitedLog
from stream.security import ClientKeys
from stream.wire import codec as wire
from stream.wire.schema import MAX_BYTES, Kind
from stream.wire.topics import topic

log = logging.getLogger("poselift")

ENDPOINT = "tcp://127.0.0.1:5555"
RECEIVE_BUFFER_BYTES = 1 << 16  # the kernel's: poses that wait there are old when they are read at last
MAX_POLL_S = 1.0  # Bounds the wait for Ctrl-C on systems where it does not interrupt a poll.
MAX_CLOCK_STEP_NS = 10_000_000_000  # a frame older than the newest by more is not late
MAX_DRAINED = 1000  # messages read at once, so that a sender that never pauses cannot block the reader


def subscribe(
    endpoint: str = ENDPOINT,
    source: str | None = None,
    newest: bool = False,
    timeout_s: float | None = None,
    keys: ClientKeys | None = None,
    max_age_ms: float | None = None,
    on_session: Callable[[str, str], None] | None = None,
) -> Iterator[PoseFrame]:
    """Endless poses of one source, or of all sources; connects at once and reconnects by itself.

    newest: yield only the newest waiting poses of each source, for readers slower than the sender.
    timeout_s: raise SourceLost when no poses arrive for this long; None waits for ever, and logs a warning
    every 10 seconds without poses.
    keys: for a node that uses CURVE.
    max_age_ms: leave out live poses captured longer ago, such as those that waited while this program was
    stopped; the clocks of both machines must agree. None yields poses of any age.
    on_session: called with the source and its new session before the first poses of another session, after
    the node or one of its workers was replaced; the ids of all persons are new from then on. Poses of another
    session that are older than the newest yielded ones of the source are dropped. Leaving the loop
    disconnects.
    """
    subscriber = Subscriber(endpoint, source, ("pose3d",), keys, max_age_ms)
    return _poses(subscriber, newest, timeout_s, on_session)


def _poses(
    subscriber: "Subscriber",
    newest: bool,
    timeout_s: float | None,
    on_session: Callable[[str, str], None] | None,
) -> Iterator[PoseFrame]:
    sessions = _Sessions(on_session)
    with subscriber:
        while True:
            if newest:
                messages = subscriber.newest(timeout_s)
            else:
                message = subscriber.read(timeout_s)
                messages = [] if message is None else [message]
            if not messages:
                raise SourceLost(
                    f"no poses from {subscriber.endpoint} for {timeout_s} s; is the node running, "
                    "is this its address, and is a person in the picture?"
                )
            for message in messages:
                if isinstance(message, PoseFrame) and sessions.follow(message):
                    yield message


class _Sessions:
    """The newest frame of every source, to notice another session and to drop its frames from before."""

    def __init__(self, on_session: Callable[[str, str], None] | None) -> None:
        self._on_session = on_session
        self._newest: dict[str, tuple[str, int]] = {}  # session and capture time, by source

    def follow(self, frame: PoseFrame) -> bool:
        """Whether to yield the frame; a frame far back is not old: the clock of the source was set back."""
        source, captured_ns = frame.header.source, frame.header.captured_unix_ns
        session, newest_ns = self._newest.get(source, (frame.session, captured_ns))
        if frame.session != session:
            if 0 <= newest_ns - captured_ns < MAX_CLOCK_STEP_NS:
                return False
            log.info("%s: another session, %s; its persons have new ids", source, frame.session)
            if self._on_session is not None:
                self._on_session(source, frame.session)
        self._newest[source] = frame.session, captured_ns
        return True


class Subscriber:
    """Receives the messages of a node in the order they arrive; use it from one thread.

    refused: number of received messages that could not be decoded. too_old: number of live poses left out
    because they were captured more than `max_age_ms` ago.
    """

    def __init__(
        self,
        endpoint: str = ENDPOINT,
        source: str | None = None,
        kinds: tuple[Kind, ...] = ("pose3d", "meta", "status"),
        keys: ClientKeys | None = None,
        max_age_ms: float | None = None,
    ) -> None:
        """Connect to `endpoint`; ConfigError when it is no address or `source` no name."""
        self.endpoint = endpoint
        self.refused = self.too_old = 0
        self._max_age_ms = max_age_ms
        self._log = RateLimitedLog(SystemClock())
        topics = [topic(kind, None if kind == "status" else source) for kind in kinds]
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        options = {
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: MAX_BYTES,
            zmq.RCVBUF: RECEIVE_BUFFER_BYTES,
            zmq.RECONNECT_IVL: 100,
            zmq.RECONNECT_IVL_MAX: 2000,
        }
        for option, value in options.items():
            self._socket.set(option, value)
        keep_alive(self._socket)
        if keys:
            keys.apply(self._socket)
        # libzmq ends a connection for good after a message above MAXMSGSIZE: connect again after every loss.
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        for prefix in topics:
            self._socket.subscribe(prefix)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                f"endpoint {endpoint!r}: expected an address like {ENDPOINT}, got {error}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; closing twice is harmless."""
        if not self._socket.closed:
            self._socket.disable_monitor()
        self._context.destroy(linger=0)

    def read(self, timeout_s: float | None = None) -> Message | KeypointFrame | None:
        """The next message; None when none arrives within `timeout_s`. SourceLost after closing."""
        for _ in self._wait_for_messages(timeout_s):
            if (message := self._decode(self._socket.recv_multipart())) is not None:
                return message
        return None

    def newest(self, timeout_s: float | None = None) -> list[Message | KeypointFrame]:
        """The newest waiting message of each topic; empty when none arrives within `timeout_s`."""
        for _ in self._wait_for_messages(timeout_s):
            latest: dict[bytes, list[bytes]] = {}
            for _ in range(MAX_DRAINED):
                parts = self._socket.recv_multipart()
                latest[parts[0]] = parts
                if not self._socket.poll(0):
                    break
            messages = [message for parts in latest.values() if (message := self._decode(parts)) is not None]
            if messages:
                return messages
        return []

    def _wait_for_messages(self, timeout_s: float | None) -> Iterator[None]:
        """Yield whenever a message can be received, until `timeout_s` have passed."""
        if self._socket.closed:
            raise SourceLost(f"the subscriber to {self.endpoint} is closed")
        started_s = time.monotonic()
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            remaining_s = max(0.0, deadline_s - time.monotonic())
            if self._socket.poll(math.ceil(1000 * min(remaining_s, MAX_POLL_S))):
                yield
                started_s = time.monotonic()
            else:
                self._reconnect_if_lost()
                if (silent_s := time.monotonic() - started_s) > INTERVAL_S:
                    self._log.warning(
                        "silent",
                        "%s: no messages for %.0f s; still waiting. Is the node running, is this its "
                        "address, and is a person in the picture?",
                        *(self.endpoint, silent_s),
                    )
            if time.monotonic() >= deadline_s:
                return

    def _reconnect_if_lost(self) -> None:
        lost = False
        while self._monitor.poll(0):
            self._monitor.recv_multipart()
            lost = True
        if lost:
            with contextlib.suppress(zmq.ZMQError):  # libzmq has given the connection up
                self._socket.disconnect(self.endpoint)
            self._socket.connect(self.endpoint)

    def _decode(self, parts: list[bytes]) -> Message | KeypointFrame | None:
        try:
            if len(parts) != 2:
                raise DecodeError(f"message: expected two parts, got {len(parts)}")
            message = wire.decode(parts[1])
        except DecodeError as error:
            self._log.warning("refused", "%s: %s", self.endpoint, error)
            self.refused += 1
            return None
        if self._max_age_ms is None or not isinstance(message, PoseFrame) or message.mode == "offline":
            return message
        if (age_ms := message.age_ms()) <= self._max_age_ms:
            return message
        self.too_old += 1
        self._log.warning(
            "too_old",
            "%s: a pose is %.0f ms old, more than max_age_ms, and left out; this program was too slow, or "
            "the clocks of both machines differ",
            *(self.endpoint, age_ms),
        )
        return None
