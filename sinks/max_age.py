"""No pose older than a limit leaves through a sink that moves something: a robot, an avatar, a transform."""

import logging
from dataclasses import replace

from stream.messages import PoseFrame
from stream.protocols import ComponentContext

log = logging.getLogger("poselift")

_WARN_EVERY_NS = 10_000_000_000


class MaxAge:
    """Drops and counts poses captured more than `max_age_ms` ago; poses of files have no age."""

    def __init__(self, max_age_ms: float, context: ComponentContext) -> None:
        self._max_age_ms = max_age_ms
        self._context = context
        self._dropped = 0
        self._next_warning_ns = 0

    def fresh(self, frame: PoseFrame) -> PoseFrame:
        """The frame, without its poses if they are too old. Lost persons stay in it, whatever their age: a
        robot must learn of them.
        """
        if not self.exceeded(frame):
            return frame
        return replace(frame, persons=tuple(person for person in frame.persons if person.state == "lost"))

    def exceeded(self, frame: PoseFrame) -> bool:
        """Whether the frame is too old to be sent."""
        clock, name = self._context.clock, self._context.name
        age_ms = frame.age_ms(clock.unix_ns())
        if frame.mode == "offline" or age_ms <= self._max_age_ms:
            return False
        self._dropped += 1
        self._context.health.increment(name, "drop.too_old")
        if clock.now_ns() >= self._next_warning_ns:
            self._next_warning_ns = clock.now_ns() + _WARN_EVERY_NS
            log.warning(
                "%s: %d poses were older than %.0f ms and not sent (the last one %.0f ms); lower lifter.lag "
                "or raise sinks.%s.max_age_ms",
                *(name, self._dropped, self._max_age_ms, age_ms, name),
            )
        return True
