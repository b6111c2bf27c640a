"""From lifted windows to pose frames: which row of which window is a captured frame's pose."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from stream.intake import Arrival, Due, Sighting
from stream.messages import F32, U8, Latency, Mode, ModelInfo, Origin, Pose, PoseFrame, Window, WindowInfo
from stream.ring import Ring


@dataclass(frozen=True, slots=True)
class Lifted:
    """One person's window and its poses (F, J, 3) float32 metres."""

    window: Window
    poses: F32
    end: int  # position in the person's ring right after the window

    def row(self, sighting: Sighting) -> int:
        return len(self.poses) - (self.end - sighting.position)


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
        """Pose frames of the arrivals in `due`, in order of capture; publishing stamps what is left."""
        lift_ms = (lifted_ns - started_ns) / 1e6
        for arrival in due.arrivals:
            header = arrival.header
            yield PoseFrame(
                header=header,
                persons=tuple(self._pose(who, people[who.ring]) for who in arrival.sightings),
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

    def _pose(self, who: Sighting, lifted: Lifted) -> Pose:
        row = lifted.row(who)
        keypoints = lifted.window.keypoints[row]
        if who.state == "lost":
            # The last word about a person carries no pose: a robot must not take it for one.
            gone = np.full((len(keypoints), 3), np.nan, np.float32)
            nothing = np.zeros(len(keypoints), np.float32)
            return Pose(who.id, "lost", gone, nothing, np.zeros(len(keypoints), np.uint8))
        origin = joint_origin(lifted.window.keypoints[..., 2], row)
        return Pose(who.id, who.state, lifted.poses[row], keypoints[:, 2].copy(), origin, kp2d=keypoints)


def joint_origin(score: F32, row: int) -> U8:
    """Where each joint of frame `row` is from, (J,) of `Origin`, given the window's scores (F, J)."""
    seen = score > 0
    between = seen[:row].any(axis=0) & seen[row + 1 :].any(axis=0)
    invented = np.where(between, Origin.INTERPOLATED, Origin.PREDICTED)
    return np.where(seen[row], Origin.OBSERVED, invented).astype(np.uint8)


def _history(arrival: Arrival, people: Mapping[Ring, Lifted]) -> WindowInfo:
    """The window of the person with the least history, for trust is as strong as that."""
    origins = [people[who.ring].window.origin for who in arrival.sightings]
    if not origins:
        return WindowInfo()
    padded = max(int((origin == Origin.PADDED).sum()) for origin in origins)
    frames = len(origins[0])
    return WindowInfo(frames=frames, real=frames - padded, padded=padded)
