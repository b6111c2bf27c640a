"""The lift thread's work: whatever is due from all sources goes through the lifter in one pass."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from stream.clock import Clock
from stream.emit import Emitter, Lifted
from stream.finish import Finish
from stream.health import Health
from stream.intake import Intake
from stream.messages import PoseFrame, Window
from stream.protocols import Lifter

_BATCH = 32  # windows lifted at once; more people make several batches of one pass


class Lifting:
    """Passes over intakes. hop "auto" lifts as soon as anything is due; a slow machine widens any hop."""

    def __init__(
        self,
        lifter: Lifter,
        emitter: Emitter,
        hop: int | Literal["auto"],
        finish: Finish,
        clock: Clock,
        health: Health,
        send: Callable[[PoseFrame], None],
    ) -> None:
        self._lifter = lifter
        self._emitter = emitter
        self._frames: int = lifter.spec.frames
        self._hop = hop
        self._finish = finish
        self._clock = clock
        self._health = health
        self._send = send

    def once(self, intakes: Iterable[Intake]) -> bool:
        """One pass over what is due; False when nothing was."""
        lag = self._emitter.lag
        taken = [(intake, intake.take(self._hop_of(intake), lag)) for intake in intakes]
        passes = [(intake, due) for intake, due in taken if due is not None]
        if not passes:
            return False
        started_ns = self._clock.now_ns()
        windows = [due.windows(self._frames) for _, due in passes]
        poses = iter(self._lift([window for people in windows for window in people.values()]))
        lifted_ns = self._clock.now_ns()
        for (intake, due), people in zip(passes, windows, strict=True):
            lifted = {ring: Lifted(window, next(poses), due.ends[ring]) for ring, window in people.items()}
            dropped = self._health.dropped(intake.name)
            frames = self._emitter.frames(due, lifted, started_ns, lifted_ns, dropped)
            for arrival, frame in zip(due.arrivals, frames, strict=True):
                self._publish(self._finish.finish(frame, arrival.size_wh), lifted_ns)
        self._health.count("lift", "passes")
        return True

    def _hop_of(self, intake: Intake) -> int:
        if self._hop != "auto":
            return min(self._hop, self._frames - self._emitter.lag)
        # Nobody waits for a file frame by frame: a third of the window keeps every pose's context long.
        return max(1, (self._frames - self._emitter.lag) // 3) if intake.lossless else 1

    def _lift(self, windows: Sequence[Window]) -> list:
        poses: list = []
        for first in range(0, len(windows), _BATCH):
            poses.extend(self._lifter.lift(windows[first : first + _BATCH]))
        return poses

    def _publish(self, frame: PoseFrame, lifted_ns: int) -> None:
        latency = frame.latency_ms
        post_ms = (self._clock.now_ns() - lifted_ns) / 1e6
        for stage in ("capture", "detect", "queue", "lift"):
            self._health.took(stage, getattr(latency, stage))
        self._health.took("post", post_ms)
        self._health.took("hop", frame.hop)
        self._health.count("lift", "frames")
        self._health.count("lift", "poses", len(frame.persons))
        if frame.mode != "offline":  # a file's times say nothing about age
            self._health.took("age", (self._clock.now_ns() - frame.header.captured_ns) / 1e6)
        self._send(
            dataclasses.replace(
                frame,
                latency_ms=dataclasses.replace(latency, post=post_ms),
                published_unix_ns=self._clock.unix_ns(),
            )
        )
