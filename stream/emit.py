"""From lifted windows to pose frames: the pose of every moment in the window of every person."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stream.arrivals import Arrival, Due, Sighting
from stream.messages import (
    F32,
    I64,
    U8,
    Latency,
    Mode,
    ModelInfo,
    Origin,
    Pose,
    PoseFrame,
    Window,
    WindowInfo,
)
from stream.ring import Ring

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
            if seen.all():
                return keypoints, np.full(len(seen), _OBSERVED)
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
    def _sighted(self) -> tuple[I64, I64]:
        """Rows of the first and the last sighting of each joint, (J,) and (J,)."""
        seen = self._captured.keypoints[..., 2] > 0  # (F, J)
        never = ~seen.any(axis=0)
        first = np.where(never, len(seen), seen.argmax(axis=0))
        return first, np.where(never, -1, len(seen) - 1 - seen[::-1].argmax(axis=0))


def _between(times: I64, at_ns: int) -> tuple[int, int, float]:
    """The rows on both sides of a time, and the share of the right one; ends are held."""
    left = max(int(times.searchsorted(at_ns, "right")) - 1, 0)
    right = min(left + 1, len(times) - 1)
    gap_ns = int(times[right] - times[left])
    return left, right, min(max((at_ns - int(times[left])) / gap_ns, 0.0), 1.0) if gap_ns > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Emitter:
    """What all pose frames of a run have in common."""

    skeleton: str
    model: ModelInfo
    session: str
    mode: Mode
    lag: int

    def frames(
        self, due: Due, people: Mapping[Ring, Lifted], started_ns: int, lifted_ns: int, dropped: int
    ) -> Iterator[PoseFrame]:
        """Pose frames of the arrivals in `due`, in their order; publishing stamps what is left."""
        lift_ms = (lifted_ns - started_ns) / 1e6
        for arrival in due.arrivals:
            header = arrival.header
            yield PoseFrame(
                header=header,
                persons=tuple(
                    self._pose(who, people[who.ring], header.captured_ns) for who in arrival.sightings
                ),
                skeleton=self.skeleton,
                session=self.session,
                mode=self.mode,
                lag=self.lag,
                hop=len(due.arrivals),
                window=_history(arrival, people),
                latency_ms=self._latency(arrival, started_ns, lift_ms),
                model=self.model,
                frame_id=f"{header.source}_optical_frame",
                dropped=dropped,
            )

    def _latency(self, arrival: Arrival, started_ns: int, lift_ms: float) -> Latency:
        if self.mode == "offline":
            return Latency(lift=lift_ms)  # the times of a file are its own: nothing waited since then
        known_ms = (arrival.detected_ns - arrival.header.captured_ns) / 1e6
        return Latency(
            capture=arrival.capture_ms,
            detect=max(0.0, known_ms - arrival.capture_ms),
            queue=max(0.0, (started_ns - arrival.detected_ns) / 1e6),
            lift=lift_ms,
        )

    def _pose(self, who: Sighting, lifted: Lifted, at_ns: int) -> Pose:
        if who.state == "lost":
            # The last word about a person carries no pose: a robot must not take it for one.
            joints = lifted.poses.shape[1]
            gone, nothing = np.full((joints, 3), np.nan, np.float32), np.zeros(joints, np.float32)
            return Pose(who.id, "lost", gone, nothing, np.zeros(joints, np.uint8))
        keypoints, origin = lifted.keypoints(at_ns)
        return Pose(who.id, who.state, lifted.pose(at_ns), keypoints[:, 2].copy(), origin, kp2d=keypoints)


def _history(arrival: Arrival, people: Mapping[Ring, Lifted]) -> WindowInfo:
    """The window of the person with the least history, for trust is as strong as that."""
    origins = [people[who.ring].window.origin for who in arrival.sightings]
    if not origins:
        return WindowInfo()
    padded = max(int(np.count_nonzero(origin == _PADDED)) for origin in origins)
    frames = len(origins[0])
    return WindowInfo(frames=frames, real=frames - padded, padded=padded)
