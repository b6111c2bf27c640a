"""Pose frames from lifted windows: one pose per frame and person of a pass, post-processed and sent."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

from stream.messages import Latency, Meta, Mode, ModelInfo, PoseFrame, WindowInfo
from stream.postprocess.batch import BatchFrame, PoseBatch, PostProcessor
from stream.postprocess.lifted import LiftedWindow
from stream.protocols import ComponentContext
from stream.skeletons import skeleton_named
from stream.windows.pending import LiftRequest, PendingFrame, PersonInFrame
from stream.windows.ring import Ring

_STAGES = ("capture", "detect", "queue", "lift", "post")


@dataclass(slots=True, eq=False)
class LiftedPass:
    """One lifter pass over one source: the frames to publish, its start time, and the people as lifted.

    started_ns: monotonic; people: lifted windows by ring, filled in while the pass is lifted.
    """

    request: LiftRequest
    started_ns: int
    people: dict[Ring, LiftedWindow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FrameAssembler:
    """Makes pose frames from lifted passes; its fields are those that all pose frames of a run share.

    lag: frames of look-ahead. kp2d: poses include the keypoints that were lifted.
    """

    skeleton: str
    model: ModelInfo
    session: str
    mode: Mode
    lag: int
    kp2d: bool = True

    def batch(self, passes: Sequence[LiftedPass], lifted_ns: int, dropped: Callable[[str], int]) -> PoseBatch:
        """All frames of `passes`, in their order, with the poses of their people.

        lifted_ns: when the passes were done. dropped: the number of a source's frames dropped since start.
        """
        frames: list[BatchFrame] = []
        people: list[PersonInFrame] = []
        for lifted in passes:
            frames += self._frames(lifted, len(people), lifted_ns, dropped)
            people += [person for pending in lifted.request.frames for person in pending.persons]
        windows = {ring: window for lifted in passes for ring, window in lifted.people.items()}
        ids, states = [person.id for person in people], [person.state for person in people]
        joints = next(
            (window.poses.shape[1] for window in windows.values()), len(skeleton_named(self.skeleton).joints)
        )
        batch = PoseBatch(self.skeleton, joints, frames, ids, states)
        for frame in frames:
            for row in frame.rows:
                if states[row] != "lost":  # the message that a person is lost has no pose
                    _fill(batch, row, windows[people[row].ring], frame.header.captured_ns)
                    batch.repaired[row] = people[row].repaired
        return batch

    def frame(self, batch: PoseBatch, frame: BatchFrame, post_ms: float, unix_ns: int) -> PoseFrame:
        """The message of a frame, published at `unix_ns` after `post_ms` of post-processing."""
        ms = frame.latency_ms
        return PoseFrame(
            header=frame.header,
            persons=tuple([batch.pose(row, self.kp2d) for row in frame.rows]),
            skeleton=self.skeleton,
            session=self.session,
            mode=self.mode,
            lag=self.lag,
            hop=frame.hop,
            window=frame.window,
            latency_ms=Latency(ms.capture, ms.detect, ms.queue, ms.lift, post_ms),
            model=self.model,
            frame_id=frame.frame_id,
            published_unix_ns=unix_ns,
            dropped=frame.dropped,
        )

    def _frames(
        self, lifted: LiftedPass, row: int, lifted_ns: int, dropped: Callable[[str], int]
    ) -> Iterable[BatchFrame]:
        """The frames of a pass; the first person of the first frame is in `row` of the batch."""
        arrivals = lifted.request.frames
        source = arrivals[0].header.source
        frame_id, source_dropped = f"{source}_optical_frame", dropped(source)
        for pending in arrivals:
            rows = range(row, row + len(pending.persons))
            row = rows.stop
            yield BatchFrame(
                pending.header,
                pending.size_wh,
                rows,
                frame_id,
                len(arrivals),
                _least_history([lifted.people[person.ring] for person in pending.persons]),
                self._latency(pending, lifted.started_ns, lifted_ns),
                source_dropped,
            )

    def _latency(self, pending: PendingFrame, started_ns: int, lifted_ns: int) -> Latency:
        lift_ms = (lifted_ns - started_ns) / 1e6
        if self.mode == "offline":
            return Latency(lift=lift_ms)  # capture times of a file are not on this machine's clock
        until_detected_ms = (pending.detected_ns - pending.header.captured_ns) / 1e6
        return Latency(
            capture=pending.capture_ms,
            detect=max(0.0, until_detected_ms - pending.capture_ms),
            queue=max(0.0, (started_ns - pending.detected_ns) / 1e6),
            lift=lift_ms,
        )


def _fill(batch: PoseBatch, row: int, lifted: LiftedWindow, at_ns: int) -> None:
    """Write a person's pose and keypoints at a time into a row of the batch."""
    batch.xyz[row] = lifted.pose(at_ns)
    keypoints, batch.origin[row] = lifted.keypoints(at_ns)
    batch.keypoints[row], batch.score[row] = keypoints, keypoints[:, 2]


def _least_history(people: Sequence[LiftedWindow]) -> WindowInfo:
    """The window of the person with the shortest history, which bounds the trust in the frame."""
    if not people:
        return WindowInfo()
    return _window_info(len(people[0].window.origin), max([window.padded for window in people]))


@cache
def _window_info(frames: int, padded: int) -> WindowInfo:
    return WindowInfo(frames=frames, real=frames - padded, padded=padded)


class Publisher:
    """Assembles the pose frames of lifted passes, applies the post-processors and sends the frames.

    A step may move a source's poses into other axes, such as a world found during the run. `describe` then
    makes the Meta of that source, given its name and image size, which is sent before the first pose in the
    new axes; None sends no Meta. The first axes of a source are part of the Meta that announces it.
    """

    def __init__(
        self,
        assembler: FrameAssembler,
        steps: Sequence[PostProcessor],
        send: Callable[[PoseFrame | Meta], None],
        context: ComponentContext,
        describe: Callable[[str, tuple[int, int]], Meta] | None = None,
    ) -> None:
        self._assembler = assembler
        self._steps = steps
        self._send = send
        self._describe = describe
        self._clock, self._health = context.clock, context.health
        self._frame_ids: dict[str, str] = {}  # the last one of each source

    @property
    def lag(self) -> int:
        """Frames of look-ahead."""
        return self._assembler.lag

    def publish(self, passes: Sequence[LiftedPass]) -> None:
        """Send the poses of passes that have just been lifted."""
        lifted_ns = self._clock.now_ns()
        batch = self._assembler.batch(passes, lifted_ns, self._health.dropped)
        for step in self._steps:
            step.apply(batch)
        sent: list[PoseFrame] = []
        ages_ms: list[float] = []
        for batch_frame in batch.frames:
            self._announce_axes(batch_frame)
            now_ns = self._clock.now_ns()
            post_ms = (now_ns - lifted_ns) / 1e6
            frame = self._assembler.frame(batch, batch_frame, post_ms, self._clock.unix_ns())
            ages_ms.append((now_ns - frame.header.captured_ns) / 1e6)
            self._send(frame)
            sent.append(frame)
        self._record_health(sent, ages_ms, len(passes))

    def _announce_axes(self, frame: BatchFrame) -> None:
        """Send the Meta of a source before the first of its frames with another frame_id."""
        source = frame.header.source
        last = self._frame_ids.get(source, frame.frame_id)
        self._frame_ids[source] = frame.frame_id
        if frame.frame_id != last and self._describe is not None:
            self._send(self._describe(source, frame.size_wh))

    def _record_health(self, sent: Sequence[PoseFrame], ages_ms: Sequence[float], passes: int) -> None:
        health = self._health
        for stage in _STAGES:
            health.observe_ms(stage, *[getattr(frame.latency_ms, stage) for frame in sent])
        health.observe_ms("hop", *[frame.hop for frame in sent])
        if self._assembler.mode != "offline":  # capture times of a file say nothing about age
            health.observe_ms("age", *ages_ms)
        health.increment("lift", "frames", len(sent))
        health.increment("lift", "poses", sum(len(frame.persons) for frame in sent))
        health.increment("lift", "passes", passes)
