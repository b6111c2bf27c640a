"""Passes over the pending frames of cameras: the people of all sources go through the lifter in batches."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stream.errors import LifterUnavailable
from stream.messages import Window
from stream.postprocess.assemble import LiftedPass, Publisher
from stream.postprocess.blend import PassBlender, PersonPass
from stream.postprocess.lifted import LiftedWindow
from stream.protocols import ComponentContext, Lifter
from stream.rate_limited_log import RateLimitedLog
from stream.runtime.scheduler import FairScheduler
from stream.windows.camera_buffer import CameraBuffer
from stream.windows.pending import PendingFrame, windows_of
from stream.windows.ring import Ring

_FILE_BATCH = 4  # windows of a file per batch: always the same, since the last bits of a pose depend on it
# Above this fill level a camera's frames are taken immediately, so that none overflow while it waits.
_HIGH_WATERMARK = 0.5


@dataclass(slots=True, eq=False)
class _OpenPass:
    """A pass that has begun; `remaining` are its people who are not lifted yet, `windows` theirs.

    first_ns, last_ns: captured times of the first and the last published frame of every ring.
    """

    buffer: CameraBuffer
    result: LiftedPass
    first_ns: dict[Ring, int]
    last_ns: dict[Ring, int]
    remaining: deque[Ring]
    windows: dict[Ring, Window] = field(default_factory=dict)


class BatchLifter:
    """Lifts and publishes pending frames, one batch of windows at a time.

    hop "auto" begins a pass as soon as any frame is due. A slow machine widens any hop: a pass takes all
    frames since the pass before, and costs the same. The people of a camera are lifted in as many batches as
    needed, with those of other cameras in between; their frames are published when all of them are lifted.

    max_age_ms: frames of live cameras captured longer ago are not lifted; None for no limit. blend: lifter
    frames over which the difference between passes fades. adapt: changes a window of the camera
    named first to what the lifter expects.
    """

    def __init__(
        self,
        lifter: Lifter,
        publisher: Publisher,
        hop: int | Literal["auto"],
        blend: int,
        context: ComponentContext,
        adapt: Callable[[str, Window], Window] = lambda _, window: window,
        max_age_ms: float | None = None,
    ) -> None:
        self._lifter = lifter
        self._publisher = publisher
        self._frames: int = lifter.spec.frames
        self._hop = hop
        self._blender = PassBlender(blend)
        self._clock, self._health = context.clock, context.health
        self._adapt = adapt
        self._max_age_ns = None if max_age_ms is None else round(max_age_ms * 1e6)
        self._log = RateLimitedLog(context.clock)
        self._scheduler = FairScheduler(context.clock)
        self._open: dict[CameraBuffer, _OpenPass] = {}

    @property
    def busy(self) -> bool:
        """Whether some people of a camera are lifted and others not yet."""
        return bool(self._open)

    def lift_next_batch(self, buffers: Iterable[CameraBuffer]) -> bool:
        """Lift one batch of due windows and publish the passes it completes; False when no frame was due."""
        ordered = self._scheduler.order(
            buffer for buffer in buffers if buffer.fill_level or buffer in self._open
        )
        batch = self._next_batch(ordered)
        lifted = bool(batch) and self._lift(batch)
        complete = [
            open_pass
            for buffer in ordered
            if (open_pass := self._open.get(buffer)) and not open_pass.remaining
        ]
        for open_pass in complete:
            del self._open[open_pass.buffer]
        if complete:
            self._publisher.publish([open_pass.result for open_pass in complete])
        return lifted or bool(complete)

    def _next_batch(self, buffers: Iterable[CameraBuffer]) -> list[tuple[_OpenPass, Ring, Window]]:
        """The next windows, beginning passes on the way; a file never shares a batch with other cameras."""
        people: list[tuple[_OpenPass, Ring]] = []
        begun: list[_OpenPass] = []
        batch_size = self._scheduler.cost.batch_size()
        for buffer in buffers:
            room = batch_size - len(people)
            if buffer.lossless:
                room = 0 if people else _FILE_BATCH
            open_pass = self._open.get(buffer)
            if open_pass is None and (room or buffer.fill_level > _HIGH_WATERMARK):
                open_pass = self._begin_pass(buffer)
                if open_pass is not None:
                    begun.append(open_pass)
            if open_pass is not None:
                count = min(room, len(open_pass.remaining))
                people += [(open_pass, open_pass.remaining.popleft()) for _ in range(count)]
            if people and buffer.lossless and room:
                break
        self._cut_windows(begun)
        return [(open_pass, ring, open_pass.windows.pop(ring)) for open_pass, ring in people]

    def _cut_windows(self, begun: Sequence[_OpenPass]) -> None:
        """Copy the windows of passes that have just begun, before their rings go on."""
        if begun:
            windows = windows_of([open_pass.result.request for open_pass in begun], self._frames)
            for open_pass in begun:
                open_pass.windows = {ring: windows[ring] for ring in open_pass.first_ns}

    def _begin_pass(self, buffer: CameraBuffer) -> _OpenPass | None:
        oldest_ns = None if self._max_age_ns is None else self._clock.now_ns() - self._max_age_ns
        too_old = buffer.too_old
        request = buffer.pop_due(self._hop_of(buffer), self._publisher.lag, oldest_ns)
        if buffer.too_old > too_old:
            self._warn_of_age(buffer.name)
        if request is None:
            return None
        rings = request.rings
        self._scheduler.begin(buffer, len(rings))
        open_pass = _OpenPass(
            buffer,
            LiftedPass(request, self._clock.now_ns()),
            first_ns=_captured_by_ring(reversed(request.frames)),
            last_ns=_captured_by_ring(request.frames),
            remaining=deque(rings),
        )
        self._open[buffer] = open_pass
        return open_pass

    def _warn_of_age(self, camera: str) -> None:
        assert self._max_age_ns is not None
        self._log.warning(
            "too_old",
            "%s: frames captured more than %.0f ms ago are dropped; the lifter is too slow, or the "
            "frames arrive late, or the sender's clock is behind: synchronise it, or raise lifter.max_age_ms",
            *(camera, self._max_age_ns / 1e6),
        )

    def _hop_of(self, buffer: CameraBuffer) -> int:
        if self._hop != "auto":
            return min(self._hop, self._frames - self._publisher.lag)
        # A file need not be lifted frame by frame: a third of the window keeps a long history for every pose.
        return max(1, (self._frames - self._publisher.lag) // 3) if buffer.lossless else 1

    def _lift(self, batch: Sequence[tuple[_OpenPass, Ring, Window]]) -> bool:
        """Lift a batch; False puts it back, because no lifter can be reached."""
        started_ns = self._clock.now_ns()
        last = max(
            self._blender.frames_needed(ring, window.captured_ns, open_pass.first_ns[ring])
            for open_pass, ring, window in batch
        )
        windows = [self._adapt(open_pass.buffer.name, window) for open_pass, _, window in batch]
        try:
            poses_by_window = self._lifter.lift(windows, last)
        except LifterUnavailable:
            for open_pass, ring, window in reversed(batch):
                open_pass.remaining.appendleft(ring)
                open_pass.windows[ring] = window
            return False
        seconds = (self._clock.now_ns() - started_ns) / 1e9
        self._scheduler.charge([open_pass.buffer for open_pass, _, _ in batch], seconds)
        self._health.increment("lift", "batches")
        lifted = [
            PersonPass(ring, window.captured_ns[-last:], open_pass.last_ns[ring])
            for open_pass, ring, window in batch
        ]
        blended = self._blender.blend_all(lifted, poses_by_window)
        for (open_pass, ring, window), poses in zip(batch, blended, strict=True):
            open_pass.result.people[ring] = LiftedWindow(window, poses)
        return True


def _captured_by_ring(frames: Iterable[PendingFrame]) -> dict[Ring, int]:
    """Captured time of the last of these frames in which a ring's person is present."""
    return {person.ring: frame.header.captured_ns for frame in frames for person in frame.persons}
