"""From lifted windows to pose frames: the pose of every moment in the window of every person."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

from stream.arrivals import Arrival, Due, Sighting
from stream.batch import Batch, Moment
from stream.messages import (
    F32,
    I64,
    U8,
    Latency,
    Mode,
    ModelInfo,
    Origin,
    PoseFrame,
    Window,
    WindowInfo,
)
from stream.ring import Ring
from stream.skeletons import get

_OBSERVED, _INTERPOLATED, _PREDICTED = np.array(
    [Origin.OBSERVED, Origin.INTERPOLATED, Origin.PREDICTED], np.uint8
)
_PADDED = int(Origin.PADDED)


class Lifted:
    """One person's window and poses (N, J, 3) float32 metres of its N newest frames, at any time within."""

    def __init__(self, window: Window, poses: F32) -> None:
        self.window = window
        self.poses = poses
        self._times_ns = window.captured_ns[-len(poses) :]
        self._captured = window.captured or window

    def pose(self, at_ns: int) -> F32:
        """(J, 3) metres at a time, interpolated between the lifter's frames; never beyond the newest."""
        left, right, share = _between(self._times_ns, at_ns)
        pose: F32 = self.poses[left]
        return pose + np.float32(share) * (self.poses[right] - pose) if share else pose

    def keypoints(self, at_ns: int) -> tuple[F32, U8]:
        """(J, 3) x px, y px, score at a time, and where each joint (J,) is from, of `Origin`."""
        times = self._captured.captured_ns
        left, right, share = _between(times, at_ns)
        keypoints = self._captured.keypoints[left]
        if times[left] == at_ns:
            seen = keypoints[:, 2] > 0
            if np.count_nonzero(seen) == len(seen):
                return keypoints, _observed(len(seen))
            first, last = self._sighted
            invented = np.where((first < left) & (left < last), _INTERPOLATED, _PREDICTED)
            return keypoints, np.where(seen, _OBSERVED, invented)
        after = self._captured.keypoints[right]
        mixed = keypoints + np.float32(share) * (after - keypoints)
        first, last = self._sighted
        between = (first <= left) & (right <= last) & (left < right)
        mixed[:, 2] = np.where(between, np.minimum(keypoints[:, 2], after[:, 2]), 0.0)
        return mixed, np.where(between, _INTERPOLATED, _PREDICTED)

    @cached_property
    def padded(self) -> int:
        """How many frames of the window there are not."""
        return int(np.count_nonzero(self.window.origin == _PADDED))

    @cached_property
    def _sighted(self) -> tuple[I64, I64]:
        """Rows of the first and the last sighting of each joint, (J,) and (J,)."""
        seen = self._captured.keypoints[..., 2] > 0  # (F, J)
        never = ~seen.any(axis=0)
        first = np.where(never, len(seen), seen.argmax(axis=0))
        return first, np.where(never, -1, len(seen) - 1 - seen[::-1].argmax(axis=0))


@cache
def _observed(joints: int) -> U8:
    return np.full(joints, _OBSERVED)


def _between(times: I64, at_ns: int) -> tuple[int, int, float]:
    """The rows on both sides of a time, and the share of the right one; ends are held."""
    newest = len(times) - 1
    if at_ns >= times[newest]:
        return newest, newest, 0.0
    left = max(int(times.searchsorted(at_ns, "right")) - 1, 0)
    right = min(left + 1, newest)
    gap_ns = int(times[right] - times[left])
    return left, right, min(max((at_ns - int(times[left])) / gap_ns, 0.0), 1.0) if gap_ns > 0 else 0.0


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
