"""The end of the lift thread's work: what was lifted is finished and sent, and the way there measured."""

from collections.abc import Callable, Sequence

from stream.context import Context
from stream.emit import Emitter, Pass
from stream.finish import Step
from stream.messages import PoseFrame


class Publisher:
    """Makes pose frames of what was lifted, takes them through the last steps and sends them."""

    def __init__(
        self, emitter: Emitter, steps: Sequence[Step], send: Callable[[PoseFrame], None], context: Context
    ) -> None:
        self._emitter = emitter
        self._steps = steps
        self._send = send
        self._clock, self._health = context.clock, context.health

    @property
    def lag(self) -> int:
        """Frames of look-ahead."""
        return self._emitter.lag

    def publish(self, passes: Sequence[Pass]) -> None:
        """Send the poses of passes that are lifted now."""
        lifted_ns = self._clock.now_ns()
        batch = self._emitter.batch(passes, lifted_ns, self._health.dropped)
        for step in self._steps:
            step.finish(batch)
        sent: list[PoseFrame] = []
        ages_ms: list[float] = []
        for moment in batch.moments:
            if moment.before is not None:
                moment.before()
            now_ns = self._clock.now_ns()
            post_ms = (now_ns - lifted_ns) / 1e6
            frame = self._emitter.frame(batch, moment, post_ms, self._clock.unix_ns())
            ages_ms.append((now_ns - frame.header.captured_ns) / 1e6)
            self._send(frame)
            sent.append(frame)
        self._note(sent, ages_ms, len(passes))

    def _note(self, sent: Sequence[PoseFrame], ages_ms: Sequence[float], passes: int) -> None:
        health = self._health
        for stage in ("capture", "detect", "queue", "lift", "post"):
            health.took(stage, *[getattr(frame.latency_ms, stage) for frame in sent])
        health.took("hop", *[frame.hop for frame in sent])
        if self._emitter.mode != "offline":  # a file's times say nothing about age
            health.took("age", *ages_ms)
        health.count("lift", "frames", len(sent))
        health.count("lift", "poses", sum(len(frame.persons) for frame in sent))
        health.count("lift", "passes", passes)
