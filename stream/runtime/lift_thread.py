"""The lift thread's work: people of all sources go through the lifter in batches, whoever is next first."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from stream.messages import Window
from stream.postprocess.assemble import LiftedPass, Publisher
from stream.postprocess.blend import PassBlender
from stream.postprocess.lifted import LiftedWindow
from stream.protocols import ComponentContext, Lifter
from stream.runtime.scheduler import FairScheduler
from stream.windows.camera_buffer import CameraBuffer
from stream.windows.ring import Ring

_FILE_BATCH = 4  # windows of a file at once: always the same, since a pose's last bits depend on it
_CROWDED = 0.5  # how full a source takes what it has out at once, so that nothing is lost before its turn


@dataclass(slots=True, eq=False)
class _Open:
    """A pass that has begun, and what of it is not lifted yet."""

    intake: CameraBuffer
    begun: LiftedPass
    since_ns: dict[Ring, int]  # captured times of the first and the last that are published
    until_ns: dict[Ring, int]
    left: deque[tuple[Ring, Window]]


class LiftThread:
    """Passes over intakes, a batch at a time. hop "auto" lifts as soon as anything is due.

    A slow machine widens any hop: a pass takes what came since the one before, and costs the same.
    A source's people are lifted in as many batches as it takes, others' in between; it publishes
    when all of them are. blend: frames over which seams between passes fade. view: what the lifter is
    to see of a source's window.
    """

    def __init__(
        self,
        lifter: Lifter,
        publisher: Publisher,
        hop: int | Literal["auto"],
        blend: int,
        context: ComponentContext,
        view: Callable[[str, Window], Window] = lambda _, window: window,
    ) -> None:
        self._lifter = lifter
        self._publisher = publisher
        self._frames: int = lifter.spec.frames
        self._hop = hop
        self._seams = PassBlender(blend)
        self._clock, self._health = context.clock, context.health
        self._view = view
        self._schedule = FairScheduler(context.clock)
        self._open: dict[CameraBuffer, _Open] = {}

    @property
    def busy(self) -> bool:
        """Some people of a source are lifted, others not yet."""
        return bool(self._open)

    def once(self, intakes: Iterable[CameraBuffer]) -> bool:
        """Lift one batch of what is due and publish whoever is complete; False when nothing was due."""
        ordered = self._schedule.order(one for one in intakes if one.filled or one in self._open)
        batch = self._batch(ordered)
        if batch:
            self._lift(batch)
        complete = [one for intake in ordered if (one := self._open.get(intake)) and not one.left]
        for one in complete:
            del self._open[one.intake]
        if complete:
            self._publisher.publish([one.begun for one in complete])
        return bool(batch or complete)

    def _batch(self, intakes: Iterable[CameraBuffer]) -> list[tuple[_Open, Ring, Window]]:
        """The next windows, beginning passes on the way; of a file only windows of its own."""
        batch: list[tuple[_Open, Ring, Window]] = []
        room = self._schedule.cost.windows()
        for intake in intakes:
            most = room - len(batch)
            if intake.lossless:
                most = 0 if batch else _FILE_BATCH
            one = self._open.get(intake)
            if one is None and (most or intake.filled > _CROWDED):
                one = self._begin(intake)
            if one is not None:
                batch += [(one, *one.left.popleft()) for _ in range(min(most, len(one.left)))]
            if batch and intake.lossless and most:
                break
        return batch

    def _begin(self, intake: CameraBuffer) -> _Open | None:
        due = intake.take(self._hop_of(intake), self._publisher.lag)
        if due is None:
            return None
        windows = due.windows(self._frames)
        until_ns = {who.ring: each.header.captured_ns for each in due.arrivals for who in each.sightings}
        since_ns = {
            who.ring: each.header.captured_ns for each in due.arrivals[::-1] for who in each.sightings
        }
        self._schedule.begin(intake, len(windows))
        begun = LiftedPass(due, self._clock.now_ns())
        one = _Open(intake, begun, since_ns, until_ns, deque(windows.items()))
        self._open[intake] = one
        return one

    def _hop_of(self, intake: CameraBuffer) -> int:
        if self._hop != "auto":
            return min(self._hop, self._frames - self._publisher.lag)
        # Nobody waits for a file frame by frame: a third of the window keeps every pose's context long.
        return max(1, (self._frames - self._publisher.lag) // 3) if intake.lossless else 1

    def _lift(self, batch: list[tuple[_Open, Ring, Window]]) -> None:
        began_ns = self._clock.now_ns()
        last = max(
            self._seams.frames_needed(ring, w.captured_ns, one.since_ns[ring]) for one, ring, w in batch
        )
        answers = self._lifter.lift([self._view(one.intake.name, window) for one, _, window in batch], last)
        seconds = (self._clock.now_ns() - began_ns) / 1e9
        self._schedule.served([one.intake for one, _, _ in batch], seconds)
        self._health.increment("lift", "batches")
        for (one, ring, window), poses in zip(batch, answers, strict=True):
            joined = self._seams.blend(ring, window.captured_ns[-last:], poses, one.until_ns[ring])
            one.begun.people[ring] = LiftedWindow(window, joined)
