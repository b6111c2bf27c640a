"""Recent motion of one person in the image."""

import math
from dataclasses import dataclass, field

import numpy as np

from stream.messages import F32, Keypoints

_VELOCITY_S = 0.25  # time constant of the velocity average
_COAST_S = 1.0  # a missing person is expected to go on for about this long, and then to stand
_MEAN_S = 0.3  # time constant of the average joint positions, which separates motion from noise
_MIN_BODY_PX = 8.0


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

    def __post_init__(self) -> None:
        self.initial_xy, self.mean_xy = self.xy.copy(), self.xy.copy()

    @property
    def size(self) -> float:
        return body_size(self.xy)

    def expected(self, now_ns: int) -> F32:
        """Expected joints (J, 2) px at a time: the last positions, moved on at a velocity that fades."""
        missing_s = max(0, now_ns - self.last_ns) / 1e9
        moved: F32 = self.xy + self.velocity * np.float32(_COAST_S * (1 - math.exp(-missing_s / _COAST_S)))
        return moved

    def update(self, xy: F32, now_ns: int) -> None:
        """Continue the track at joints xy (J, 2) px, NaN where missing."""
        elapsed_s = max(0, now_ns - self.last_ns) / 1e9
        self.last_ns = max(now_ns, self.last_ns)
        step = xy - self.xy
        total, count = np.add.reduce(step), len(step)
        if not math.isfinite(total[0]):
            comparable = np.isfinite(step[:, 0])
            total, count = np.add.reduce(step[comparable]), int(np.count_nonzero(comparable))
        if count:
            mean_step = total / np.float32(count)
            if elapsed_s > 0:
                self.updates += 1
                weight = max(elapsed_s / (elapsed_s + _VELOCITY_S), 1 / self.updates)
                self.velocity += np.float32(weight) * (mean_step / np.float32(elapsed_s) - self.velocity)
            if count < len(step):
                self.xy = self.xy + mean_step  # missing joints move along with the detected ones
        detected = np.isfinite(xy)
        self.xy = xy if count == len(step) else np.where(detected, xy, self.xy)
        if self.has_moved:
            return
        for positions in (self.initial_xy, self.mean_xy):
            np.copyto(positions, xy, where=np.isnan(positions))
        weight = elapsed_s / (elapsed_s + _MEAN_S)
        self.mean_xy += np.float32(weight) * np.where(detected, xy - self.mean_xy, 0)

    def motion(self) -> float:
        """Root mean square distance of the joints from their first positions, in body sizes."""
        squared_px = np.square(self.mean_xy - self.initial_xy).sum(axis=1)
        return float(np.sqrt(np.nanmean(squared_px))) / self.size


def detected_joints(person: Keypoints) -> F32:
    """Joints (J, 2) px, NaN where missing."""
    if person.complete:
        return person.xy
    detected = np.isfinite(person.xy).all(axis=1) & (person.score > 0)
    return np.where(detected[:, None], person.xy, np.float32(np.nan))


def body_size(xy: F32) -> float:
    """Diagonal of the box around the joints of xy (J, 2) px that are not NaN, at least a few pixels."""
    high, low = np.fmax.reduce(xy), np.fmin.reduce(xy)  # both ignore NaN
    return max(float(np.hypot(*(high - low))), _MIN_BODY_PX)
