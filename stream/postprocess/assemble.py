"""From lifted windows to pose frames: the pose of every moment in the window of every person."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

from stream.messages import Latency, Mode, ModelInfo, PoseFrame, WindowInfo
from stream.postprocess.batch import Batch, Moment, Step
from stream.postprocess.lifted import Lifted
from stream.protocols import Context
from stream.skeletons import get
from stream.windows.pending import Arrival, Due, Sighting
from stream.windows.ring import Ring


@dataclass(slots=True, eq=False)
class Pass:
    """What one source publishes at once, since when that is worked on, and everybody in it as lifted."""

    due: Due
    started_ns: int
    people: dict[Ring, Lifted] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Emitter:
    """What all pose frames of a run have in common. kp2d: they have the keypoints that were lifted."""

    skeleton: str
    model: ModelInfo
    session: str
    mode: Mode
    lag: int
    kp2d: bool = True

    def batch(self, passes: Sequence[Pass], lifted_ns: int, dropped: Callable[[str], int]) -> Batch:
        """All arrivals of `passes`, in their order. dropped: frames of a source dropped since start."""
        moments: list[Moment] = []
        sightings: list[Sighting] = []
        for one in passes:
            moments += self._moments(one, len(sightings), lifted_ns, dropped)
            sightings += [who for arrival in one.due.arrivals for who in arrival.sightings]
        ids, states = [who.id for who in sightings], [who.state for who in sightings]
        lifted = {ring: each for one in passes for ring, each in one.people.items()}
        joints = next((each.poses.shape[1] for each in lifted.values()), len(get(self.skeleton).joints))
        batch = Batch(self.skeleton, joints, moments, ids, states)
        for moment in moments:
            for row in moment.rows:
                if states[row] != "lost":  # the last word about a person carries no pose
                    _fill(batch, row, lifted[sightings[row].ring], moment.header.captured_ns)
        return batch

    def frame(self, batch: Batch, moment: Moment, post_ms: float, unix_ns: int) -> PoseFrame:
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
        self, one: Pass, row: int, lifted_ns: int, dropped: Callable[[str], int]
    ) -> Iterable[Moment]:
        """Those of a pass, its people from `row` on."""
        arrivals, source = one.due.arrivals, one.due.arrivals[0].header.source
        frame_id, drops = f"{source}_optical_frame", dropped(source)
        for arrival in arrivals:
            rows = range(row, row + len(arrival.sightings))
            row = rows.stop
            yield Moment(
                arrival.header,
                arrival.size_wh,
                rows,
                frame_id,
                len(arrivals),
                _history(one.people[who.ring] for who in arrival.sightings),
                self._latency(arrival, one.started_ns, lifted_ns),
                drops,
            )

    def _latency(self, arrival: Arrival, started_ns: int, lifted_ns: int) -> Latency:
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


def _fill(batch: Batch, row: int, lifted: Lifted, at_ns: int) -> None:
    batch.xyz[row] = lifted.pose(at_ns)
    keypoints, batch.origin[row] = lifted.keypoints(at_ns)
    batch.keypoints[row], batch.score[row] = keypoints, keypoints[:, 2]


def _history(people: Iterable[Lifted]) -> WindowInfo:
    """The window of the person with the least history, for trust is as strong as that."""
    least = max(people, key=lambda one: one.padded, default=None)
    return _window(len(least.window.origin), least.padded) if least else WindowInfo()


@cache
def _window(frames: int, padded: int) -> WindowInfo:
    return WindowInfo(frames=frames, real=frames - padded, padded=padded)


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
