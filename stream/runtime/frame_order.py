"""Order of the frames of one source: frames that repeat, come late, or come from a clock that was set."""

from stream.messages import Header
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog
from stream.runtime.camera_stages import CameraStages

_CLOCK_RESET_NS = 1_000_000_000  # a frame further back than this is not late: the camera's clock was set back


class FrameOrder:
    """Which frames are newer than the frames before them; starts tracking anew when a clock was set.

    stamped_here: whether the captures of a live source are stamped by this machine's steady clock.
    """

    def __init__(self, stamped_here: bool, context: ComponentContext, log: RateLimitedLog) -> None:
        self._stamped_here = stamped_here
        self._context = context
        self._log = log

    def accepts(self, camera: CameraStages, header: Header) -> bool:
        """Whether a frame is newer than the frames before; a camera whose clock was set back starts anew."""
        if camera.newest is None:
            return True
        steady_step_ns = header.captured_ns - camera.newest.captured_ns
        sender_step_ns = header.captured_unix_ns - camera.newest.captured_unix_ns
        if self._stamped_here:
            # The steady clock has the order, whatever is done to the wall clock.
            if sender_step_ns - steady_step_ns > _CLOCK_RESET_NS:
                self._on_suspend(header, (sender_step_ns - steady_step_ns) / 1e9)
                camera.restart(self._context.clock.now_ns())
                return True
            sender_step_ns = steady_step_ns
        duplicate = sender_step_ns == 0
        # Captures of a sender whose clock is ahead count as of now; then only its own times have the order.
        step_ns = min(steady_step_ns, sender_step_ns)
        if step_ns < -_CLOCK_RESET_NS:
            self._log.warning(
                "clock_back",
                "%s: the clock went back by %.1f s; tracking starts anew",
                *(header.source, -step_ns / 1e9),
            )
            self._context.health.increment(header.source, "clock_back")
            camera.restart(self._context.clock.now_ns())
        elif duplicate or step_ns <= 0:
            reason = "drop.duplicate" if duplicate or step_ns == 0 else "drop.out_of_order"
            self._context.health.increment(header.source, reason)
            return False
        elif camera.announced is not None and _is_before(header, camera.announced):
            # It arrived so late that its people were announced as lost: poses never go back in time.
            self._context.health.increment(header.source, "drop.out_of_order")
            return False
        return True

    def _on_suspend(self, header: Header, gap_s: float) -> None:
        """Count a gap that only the wall clock shows: the steady clock stands still during a suspend."""
        self._context.health.increment(header.source, "suspended")
        self._log.warning(
            "suspended",
            "%s: this machine was suspended for %.1f s, or its clock set forward; tracking starts anew",
            *(header.source, gap_s),
        )


def _is_before(header: Header, other: Header) -> bool:
    """Whether a frame was captured no later than another, by either clock."""
    return header.captured_ns <= other.captured_ns or header.captured_unix_ns <= other.captured_unix_ns
