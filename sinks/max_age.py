"""No pose older than a limit leaves through a sink that moves something: a robot, an avatar, a transform."""

from dataclasses import replace

from stream.messages import PoseFrame
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog


class MaxAge:
    """Drops and counts poses captured more than `max_age_ms` ago; poses of files have no age."""

    def __init__(self, max_age_ms: float, context: ComponentContext) -> None:
        self._max_age_ms = max_age_ms
        self._context = context
        self._log = RateLimitedLog(context.clock)

    def fresh(self, frame: PoseFrame) -> PoseFrame:
        """The frame, without its poses if they are too old. Lost persons stay in it, whatever their age: a
        robot must learn of them.
        """
        if not self.exceeded(frame):
            return frame
        return replace(frame, persons=tuple(person for person in frame.persons if person.state == "lost"))

    def exceeded(self, frame: PoseFrame) -> bool:
        """Whether the frame is too old to be sent."""
        if frame.mode == "offline" or not self.has_passed(frame.header.captured_unix_ns):
            return False
        name, age_ms = self._context.name, frame.age_ms(self._context.clock.unix_ns())
        self._context.health.increment(name, "drop.too_old")
        self._log.warning(
            "too_old",
            "%s: a pose is %.0f ms old, more than %.0f ms, and not sent; lower lifter.lag or raise "
            "sinks.%s.max_age_ms",
            *(name, age_ms, self._max_age_ms, name),
        )
        return True

    def has_passed(self, captured_unix_ns: int) -> bool:
        """Whether a live pose captured at this time is too old."""
        return (self._context.clock.unix_ns() - captured_unix_ns) / 1e6 > self._max_age_ms
