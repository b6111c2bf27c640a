"""One person's recent motion in the image."""

import math
from dataclasses import dataclass, field

import numpy as np

from stream.messages import F32, Keypoints

_VELOCITY_S = 0.25  # velocity is averaged over about this time
_COAST_S = 1.0  # an unseen person is expected to go on about this long, and then to stand
_SETTLED_S = 0.3  # over which joints are averaged to tell motion from noise


@dataclass(slots=True, eq=False)
class Track:
    """xy (J, 2) px: where each joint was last seen, NaN if never; velocity (2,) px/s.

    id: None until published, unless `given` by the source; sightings: numbers of the frames that may lead
    to birth; first and settled (J, 2) px: where joints were at first and are on average, until `moved`.
    """

    xy: F32
    seen_ns: int
    id: str | None
    given: bool
    velocity: F32 = field(default_factory=lambda: np.zeros(2, np.float32))
    steps: int = 0
    sightings: list[int] = field(default_factory=list)
    born: bool = False
    moved: bool = False
    first: F32 = field(init=False)
    settled: F32 = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.settled = self.xy.copy(), self.xy.copy()

    @property
    def size(self) -> float:
        return body_size(self.xy)

    def expected(self, now_ns: int) -> F32:
        gone_s = max(0, now_ns - self.seen_ns) / 1e9
        moved: F32 = self.xy + self.velocity * np.float32(_COAST_S * (1 - math.exp(-gone_s / _COAST_S)))
        return moved

    def follow(self, seen: F32, now_ns: int) -> None:
        """Go on at joints `seen` (J, 2) px, NaN where not seen."""
        since_s = max(0, now_ns - self.seen_ns) / 1e9
        self.seen_ns = max(now_ns, self.seen_ns)
        step = seen - self.xy
        total, count = np.add.reduce(step), len(step)
        if not math.isfinite(total[0]):
            both = np.isfinite(step[:, 0])
            total, count = np.add.reduce(step[both]), int(np.count_nonzero(both))
        if count:
            mean = total / np.float32(count)
            if since_s > 0:
                self.steps += 1
                share = max(since_s / (since_s + _VELOCITY_S), 1 / self.steps)
                self.velocity += np.float32(share) * (mean / np.float32(since_s) - self.velocity)
            if count < len(step):
                self.xy = self.xy + mean  # joints not seen now go along with the others
        there = np.isfinite(seen)
        self.xy = seen if count == len(step) else np.where(there, seen, self.xy)
        if self.moved:
            return
        for known in (self.first, self.settled):
            np.copyto(known, seen, where=np.isnan(known))
        share = since_s / (since_s + _SETTLED_S)
        self.settled += np.float32(share) * np.where(there, seen - self.settled, 0)

    def motion(self) -> float:
        """Root mean square of the joints' way since the first sighting, in body sizes."""
        way = np.square(self.settled - self.first).sum(axis=1)
        return float(np.sqrt(np.nanmean(way))) / self.size


def joints_seen(person: Keypoints) -> F32:
    """Joints (J, 2) px, NaN where not seen."""
    if person.complete:
        return person.xy
    seen = np.isfinite(person.xy).all(axis=1) & (person.score > 0)
    return np.where(seen[:, None], person.xy, np.float32(np.nan))


def body_size(xy: F32) -> float:
    """Diagonal of the box around the known joints of xy (J, 2) px, at least a few pixels."""
    high, low = np.fmax.reduce(xy), np.fmin.reduce(xy)  # of numbers, as far as there are any
    return max(float(np.hypot(*(high - low))), 8.0)
