"""From lifted windows to pose frames: the pose of every moment in the window of every person."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

from stream.messages import Latency, Mode, ModelInfo, PoseFrame, WindowInfo
from stream.postprocess.batch import BatchFrame, PoseBatch, PostProcessor
from stream.postprocess.lifted import LiftedWindow
from stream.protocols import ComponentContext
from stream.skeletons import skeleton_named
from stream.windows.pending import LiftRequest, PendingFrame, PersonInFrame
from stream.windows.ring import Ring


@dataclass(slots=True, eq=False)
class LiftedPass:
    """What one source publishes at once, since when that is worked on, and everybody in it as lifted."""

    due: LiftRequest
    started_ns: int
    people: dict[Ring, LiftedWindow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FrameAssembler:
    """What all pose frames of a run have in common. kp2d: they have the keypoints that were lifted."""

    skeleton: str
    model: ModelInfo
    session: str
    mode: Mode
    lag: int
    kp2d: bool = True

    def batch(self, passes: Sequence[LiftedPass], lifted_ns: int, dropped: Callable[[str], int]) -> PoseBatch:
        """All arrivals of `passes`, in their order. dropped: frames of a source dropped since start."""
        frames: list[BatchFrame] = []
        sightings: list[PersonInFrame] = []
        for one in passes:
            frames += self._moments(one, len(sightings), lifted_ns, dropped)
            sightings += [who for arrival in one.due.frames for who in arrival.persons]
        ids, states = [who.id for who in sightings], [who.state for who in sightings]
        lifted = {ring: each for one in passes for ring, each in one.people.items()}
        joints = next(
            (each.poses.shape[1] for each in lifted.values()), len(skeleton_named(self.skeleton).joints)
        )
        batch = PoseBatch(self.skeleton, joints, frames, ids, states)
        for moment in frames:
            for row in moment.rows:
                if states[row] != "lost":  # the last word about a person carries no pose
                    _fill(batch, row, lifted[sightings[row].ring], moment.header.captured_ns)
        return batch

    def frame(self, batch: PoseBatch, moment: BatchFrame, post_ms: float, unix_ns: int) -> PoseFrame:
        """A moment as it is published at `unix_ns`, after `post_ms` of the last steps."""
        ms = moment.latency_ms
        return PoseFrame(
            header=moment.header,
            persons=tuple([batch.pose(row, self.kp2d) for row in moment.rows]),
            skeleton=self.skeleton,
            session=self.session,
            mode=self.mode,
            lag=self.lag,
            hop=moment.hop,
            window=moment.window,
            latency_ms=Latency(ms.capture, ms.detect, ms.queue, ms.lift, post_ms),
            model=self.model,
            frame_id=moment.frame_id,
            published_unix_ns=unix_ns,
            dropped=moment.dropped,
        )

    def _moments(
        self, one: LiftedPass, row: int, lifted_ns: int, dropped: Callable[[str], int]
    ) -> Iterable[BatchFrame]:
        """Those of a pass, its people from `row` on."""
        arrivals, source = one.due.frames, one.due.frames[0].header.source
        frame_id, drops = f"{source}_optical_frame", dropped(source)
        for arrival in arrivals:
            rows = range(row, row + len(arrival.persons))
            row = rows.stop
            yield BatchFrame(
                arrival.header,
                arrival.size_wh,
                rows,
                frame_id,
                len(arrivals),
                _history(one.people[who.ring] for who in arrival.persons),
                self._latency(arrival, one.started_ns, lifted_ns),
                drops,
            )

    def _latency(self, arrival: PendingFrame, started_ns: int, lifted_ns: int) -> Latency:
        lift_ms = (lifted_ns - started_ns) / 1e6
        if self.mode == "offline":
            return Latency(lift=lift_ms)  # the times of a file are its own: nothing waited since then
        known_ms = (arrival.detected_ns - arrival.header.captured_ns) / 1e6
        return Latency(
            capture=arrival.capture_ms,
            detect=max(0.0, known_ms - arrival.capture_ms),
            queue=max(0.0, (started_ns - arrival.detected_ns) / 1e6),
            lift=lift_ms,
        )


def _fill(batch: PoseBatch, row: int, lifted: LiftedWindow, at_ns: int) -> None:
    batch.xyz[row] = lifted.pose(at_ns)
    keypoints, batch.origin[row] = lifted.keypoints(at_ns)
    batch.keypoints[row], batch.score[row] = keypoints, keypoints[:, 2]


def _history(people: Iterable[LiftedWindow]) -> WindowInfo:
    """The window of the person with the least history, for trust is as strong as that."""
    least = max(people, key=lambda one: one.padded, default=None)
    return _window(len(least.window.origin), least.padded) if least else WindowInfo()


@cache
def _window(frames: int, padded: int) -> WindowInfo:
    return WindowInfo(frames=frames, real=frames - padded, padded=padded)


class Publisher:
    """Makes pose frames of what was lifted, takes them through the last steps and sends them."""

    def __init__(
        self,
        emitter: FrameAssembler,
        steps: Sequence[PostProcessor],
        send: Callable[[PoseFrame], None],
        context: ComponentContext,
    ) -> None:
        self._emitter = emitter
        self._steps = steps
        self._send = send
        self._clock, self._health = context.clock, context.health

    @property
    def lag(self) -> int:
        """Frames of look-ahead."""
        return self._emitter.lag

    def publish(self, passes: Sequence[LiftedPass]) -> None:
        """Send the poses of passes that are lifted now."""
        lifted_ns = self._clock.now_ns()
        batch = self._emitter.batch(passes, lifted_ns, self._health.dropped)
        for step in self._steps:
            step.apply(batch)
        sent: list[PoseFrame] = []
        ages_ms: list[float] = []
        for moment in batch.frames:
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
            health.observe_ms(stage, *[getattr(frame.latency_ms, stage) for frame in sent])
        health.observe_ms("hop", *[frame.hop for frame in sent])
        if self._emitter.mode != "offline":  # a file's times say nothing about age
            health.observe_ms("age", *ages_ms)
        health.increment("lift", "frames", len(sent))
        health.increment("lift", "poses", sum(len(frame.persons) for frame in sent))
        health.increment("lift", "passes", passes)
