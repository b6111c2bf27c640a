"""Decoding of received keypoint messages, shared by the network sources."""

from dataclasses import replace

from stream import skeletons
from stream.errors import ConfigError, DecodeError, ShapeError
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog
from stream.wire.codec import decode_keypoints

MAX_PAUSE_S = 1.0  # a longer pause makes the messages that wait too old
DISCARD_S = 0.1  # how long such messages are read and dropped: they come from the kernel's buffers
MAX_CLOCK_LEAD_S = 0.5  # clocks synchronised by NTP differ by less


class KeypointReceiver:
    """Decodes `keypoints2d` messages and measures the time without any.

    captured_unix_ns of a frame is the sender's. captured_ns is now minus the message's age by the wall
    clocks of both machines, and never later than now. A message without a source name gets this source's.
    Invalid messages are dropped and counted, and logged from time to time; so is a sender whose clock is
    ahead, because it makes the ages wrong.
    """

    def __init__(self, context: ComponentContext, timeout_s: float) -> None:
        self._context = context
        self._timeout_s = timeout_s
        self._log = RateLimitedLog(context.clock)
        self._messages = self._invalid = 0
        self._last_frame_ns = context.clock.now_ns()
        self._called_ns: tuple[int, int] | None = None  # monotonic and wall-clock time of the last `paused`

    def start(self) -> None:
        """Count the time without messages from now on."""
        self._last_frame_ns = self._context.clock.now_ns()
        self._called_ns = None

    def decode(self, payload: bytes) -> KeypointFrame | None:
        """The frame in `payload`, or None when it is not a valid message."""
        name = self._context.name
        self._messages += 1
        try:
            frame = decode_keypoints(payload, self._context.clock, seq=self._messages - 1)
            if not frame.header.source:
                frame = replace(frame, header=replace(frame.header, source=name))
            skeletons.check(frame)
        except (DecodeError, ConfigError, ShapeError) as error:
            self._invalid += 1
            self._context.health.increment(name, "drop.junk")
            self._log.warning("invalid", "%s: dropped an invalid message: %s", name, error)
            return None
        self._last_frame_ns = self._context.clock.now_ns()
        self._compare_clocks(frame)
        return frame

    def _compare_clocks(self, frame: KeypointFrame) -> None:
        lead_s = (frame.header.captured_unix_ns - self._context.clock.unix_ns()) / 1e9
        if lead_s < MAX_CLOCK_LEAD_S:
            return
        self._context.health.increment(self._context.name, "from_the_future")
        self._log.warning(
            "clock_ahead",
            "%s: the clock of %s is %.1f s ahead of this machine's; ages are wrong until they agree",
            *(self._context.name, frame.header.source, lead_s),
        )

    def paused(self, waited_s: float) -> bool:
        """Whether this process stood still since the last call, which should have been `waited_s` ago.

        True after a suspend of the machine too, which only the wall clock shows. Messages that waited
        meanwhile would count as captured now when they have no time of their own.
        """
        now_ns, unix_ns = self._context.clock.now_ns(), self._context.clock.unix_ns()
        last_ns, self._called_ns = self._called_ns, (now_ns, unix_ns)
        if last_ns is None:
            return False
        away_s = max(now_ns - last_ns[0], unix_ns - last_ns[1]) / 1e9 - waited_s
        if away_s < MAX_PAUSE_S:
            return False
        self._log.warning(
            "paused",
            "%s: the process stood still for %.1f s (suspended or stopped); messages that waited are dropped",
            *(self._context.name, away_s),
        )
        return True

    def count_late(self, messages: int) -> None:
        """Count messages that waited while the process stood still."""
        if messages:
            self._context.health.increment(self._context.name, "drop.after_pause", messages)

    def timeout_message(self) -> str | None:
        """A sentence for SourceLost when no valid message came for `timeout_s`; otherwise None."""
        silent_s = (self._context.clock.now_ns() - self._last_frame_ns) / 1e9
        if silent_s <= self._timeout_s:
            return None
        invalid = f" ({self._invalid} invalid messages)" if self._invalid else ""
        return f"no keypoints for {silent_s:.1f} s{invalid}"
