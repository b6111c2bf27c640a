"""Recent motion of one person in the image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stream.messages import F32, Keypoints

_VELOCITY_S = 0.25  # time constant of the velocity average
_COAST_S = 1.0  # a missing person is expected to go on for about this long, and then to stand
_MEAN_S = 0.3  # time constant of the average joint positions, which separates motion from noise
MIN_BODY_PX = 8.0


@dataclass(slots=True, eq=False)
class Track:
    """xy (J, 2) px: last detected position of each joint, NaN before the first; velocity (2,) px/s.

    id: None until published, unless `external_id`: then the source gives the id. sightings: numbers of the
    recent frames that may confirm the track as a person. initial_xy and mean_xy (J, 2) px: first and average
    joint positions, kept until `has_moved`.
    """

    xy: F32
    last_ns: int
    id: str | None
    external_id: bool
    velocity: F32 = field(default_factory=lambda: np.zeros(2, np.float32))
    updates: int = 0
    sightings: list[int] = field(default_factory=list)
    confirmed: bool = False
    has_moved: bool = False
    initial_xy: F32 = field(init=False)
    mean_xy: F32 = field(init=False)
    _size: float | None = field(init=False, default=None)  # of the present xy, once it was needed

    def __post_init__(self) -> None:
        self.initial_xy, self.mean_xy = self.xy.copy(), self.xy.copy()

    @property
    def size(self) -> float:
        """Body size in pixels."""
        if self._size is None:
            self._size = body_size(self.xy)
        return self._size

    def missing_s(self, now_ns: int) -> float:
        """Seconds since the last detection."""
        return max(0, now_ns - self.last_ns) / 1e9

    def way(self, missing_s: float) -> tuple[float, float]:
        """How far (x, y) px the person is expected to have gone since the last detection."""
        way_s = _COAST_S * (1 - math.exp(-missing_s / _COAST_S))
        x, y = self.velocity.tolist()
        return x * way_s, y * way_s

    def update(self, xy: F32, now_ns: int) -> None:
        """Continue the track at joints xy (J, 2) px, NaN where missing."""
        elapsed_s, last_xy = self._advance(now_ns), self.xy
        step = xy - last_xy
        total, count = np.add.reduce(step), len(step)
        if not math.isfinite(total[0]):
            comparable = np.isfinite(step[:, 0])
            total, count = np.add.reduce(step[comparable]), int(np.count_nonzero(comparable))
        if count:
            mean_step = total / np.float32(count)
            if elapsed_s > 0:
                weight = self._velocity_weight(elapsed_s)
                self.velocity += np.float32(weight) * (mean_step / np.float32(elapsed_s) - self.velocity)
            if count < len(step):
                self.xy = self.xy + mean_step  # missing joints move along with the detected ones
        self.xy = xy if count == len(step) else np.where(np.isfinite(xy), xy, self.xy)
        self._size = None
        if not self.has_moved:
            self._average(xy, elapsed_s)

    def _advance(self, now_ns: int) -> float:
        """Set the time of the last detection; returns the seconds since the one before."""
        elapsed_s = max(0, now_ns - self.last_ns) / 1e9
        self.last_ns = max(now_ns, self.last_ns)
        return elapsed_s

    def _velocity_weight(self, elapsed_s: float) -> float:
        """The weight of the next step in the average of the velocity."""
        self.updates += 1
        return max(elapsed_s / (elapsed_s + _VELOCITY_S), 1 / self.updates)

    def _average(self, xy: F32, elapsed_s: float) -> None:
        for positions in (self.initial_xy, self.mean_xy):
            np.copyto(positions, xy, where=np.isnan(positions))
        weight = elapsed_s / (elapsed_s + _MEAN_S)
        self.mean_xy += np.float32(weight) * np.where(np.isfinite(xy), xy - self.mean_xy, 0)

    def motion(self) -> float:
        """Root mean square distance of the joints from their first positions, in body sizes."""
        squared_px = np.square(self.mean_xy - self.initial_xy).sum(axis=1)
        return float(np.sqrt(np.nanmean(squared_px))) / self.size


def expected_joints(tracks: Sequence[Track], now_ns: int) -> F32:
    """Expected joints (T, J, 2) px at a time: the last positions, moved on at a velocity that fades."""
    ways = [track.way(track.missing_s(now_ns)) for track in tracks]
    moved: F32 = np.array([track.xy for track in tracks]) + np.array(ways, np.float32)[:, None]
    return moved


def update_tracks(tracks: Sequence[Track], persons: Sequence[F32], now_ns: int) -> None:
    """Continue tracks, each one once, at the joints (J, 2) px of their persons, NaN where missing.

    Complete persons whose tracks are complete and have moved are updated together: ten of them, with their
    sizes, take 10 % less time than ten calls of `Track.update`.
    """
    together = _update_together(tracks, persons, now_ns) if len(tracks) > 1 else set()
    for row, (track, person) in enumerate(zip(tracks, persons, strict=True)):
        if row not in together:
            track.update(person, now_ns)


def _update_together(tracks: Sequence[Track], persons: Sequence[F32], now_ns: int) -> set[int]:
    """Rows of the complete persons, whose tracks were updated here with the arithmetic of `Track.update`."""
    xy = np.array(persons)
    mean_step = np.add.reduce(xy - np.array([track.xy for track in tracks]), 1) / np.float32(xy.shape[1])
    finite = np.isfinite(mean_step[:, 0]).tolist()
    rows = [
        row for row, track in enumerate(tracks) if finite[row] and track.has_moved and now_ns > track.last_ns
    ]
    if not rows:
        return set()
    elapsed_s = [tracks[row]._advance(now_ns) for row in rows]
    weights = [tracks[row]._velocity_weight(s) for row, s in zip(rows, elapsed_s, strict=True)]
    velocity = np.array([tracks[row].velocity for row in rows])
    speed = mean_step[rows] / np.array(elapsed_s, np.float32)[:, None]
    velocity += np.array(weights, np.float32)[:, None] * (speed - velocity)
    sizes = body_sizes(xy)
    for index, row in enumerate(rows):
        track = tracks[row]
        track.xy, track.velocity, track._size = persons[row], velocity[index], sizes[row]
    return set(rows)


def detected_joints(person: Keypoints) -> F32:
    """Joints (J, 2) px, NaN where missing."""
    if person.complete:
        return person.xy
    detected = np.isfinite(person.xy).all(axis=1) & (person.score > 0)
    return np.where(detected[:, None], person.xy, np.float32(np.nan))


def body_size(xy: F32) -> float:
    """Diagonal of the box around the joints of xy (J, 2) px that are not NaN, at least a few pixels."""
    return body_sizes(xy[None])[0]


def body_sizes(xy: F32) -> list[float]:
    """Diagonals of the boxes around the joints of P persons, xy (P, J, 2) px, as `body_size`."""
    width_and_height = np.fmax.reduce(xy, 1) - np.fmin.reduce(xy, 1)  # both ignore NaN
    diagonals = np.hypot(width_and_height[:, 0], width_and_height[:, 1])
    sizes: list[float] = np.fmax(diagonals, np.float32(MIN_BODY_PX)).tolist()
    return sizes
