"""Which feet rest on the floor, told from how fast ankles move and how low they are."""

import math
from collections import deque

from stream.messages import Contact

Point = tuple[float, float, float]

_OVER_S = 0.1  # a speed is the way over so long, so a contact is seen half of it late
_LEAST_S, _GAP_S = 0.03, 0.3  # of a way; after a longer gap nothing is known
_REST, _LEAVE = 0.5, 0.8  # m/s: slower than the first comes to rest, faster than the second leaves
_LOW_M, _HIGH_M = 0.07, 0.11  # over where the lower foot rests: likewise
ANKLE_M = 0.085  # of an adult, over the floor
_DEPTH = 0.3  # how much a speed along the line of sight counts, which one camera sees badly
_SINK_S, _CLIMB_S = 0.3, 3.0  # how quickly the level on which somebody stands follows their feet
# How far from the floor somebody may seem to stand: people's size, and so their distance, is a guess.
_REACH_M, _ANYWHERE_M = 0.35, 1e6
_LEAP_M = 0.2  # where no floor is known, feet this far above their level are in the air


class FootContact:
    """The feet of one person. Both tests have hysteresis; a foot that is not seen is not known.

    Somebody who is not as tall as thought seems to stand above or below the floor, so a height counts
    from the level on which this person's slow feet are. That level keeps near the floor once that is known:
    who hovers at the top of a jump, or stands on a chair, does not stand on it.
    """

    def __init__(self) -> None:
        self._left, self._right = _Foot(), _Foot()
        self._level_m: float | None = None
        self._was_floor = False
        self._at_s = -math.inf

    def update(
        self, ankles: tuple[Point | None, Point | None], over: "HeightReference", at_s: float
    ) -> Contact | None:
        """Contacts, given ankles in the camera's axes or None where not seen; None when neither is known."""
        feet = self._left, self._right
        for foot, ankle in zip(feet, ankles, strict=True):
            foot.move(ankle, over, at_s)
        level_m = self._level(min(foot.height_m for foot in feet), over.is_floor, at_s)
        left, right = (foot.rests(level_m) for foot in feet)
        return None if left is None and right is None else Contact(left, right)

    def _level(self, low_m: float, is_floor: bool, at_s: float) -> float:
        """The height from which feet count as raised, the lower foot being at `low_m`."""
        since_s, self._at_s = max(0.0, at_s - self._at_s), at_s
        if is_floor != self._was_floor:  # heights count from elsewhere now
            self._was_floor, self._level_m = is_floor, None
        slow = [foot.height_m for foot in (self._left, self._right) if foot.speed < _REST]
        here = min(slow, default=math.inf)
        if abs(here) <= (_REACH_M if is_floor else _ANYWHERE_M):
            if self._level_m is None:
                self._level_m = here
            rate_s = _SINK_S if here < self._level_m else _CLIMB_S
            self._level_m += (here - self._level_m) * min(1.0, since_s / rate_s)
        if is_floor:
            return min(max(low_m, -_REACH_M), _REACH_M) if self._level_m is None else self._level_m
        # Which way is up is not certain either: walking far may look like rising, but not like a leap.
        leaps = self._level_m is not None and low_m - self._level_m > _LEAP_M
        return self._level_m if leaps and self._level_m is not None else low_m


class HeightReference:
    """What heights are measured against, in the camera's axes: up (3,), a unit vector; height_m of the camera
    over the floor, None where that is not known.
    """

    def __init__(self, up: Point, height_m: float | None) -> None:
        self.up, self.is_floor = up, height_m is not None
        self.zero = 0.0 if height_m is None else ANKLE_M - height_m  # an ankle's, on the floor


class _Foot:
    """The way of one ankle; speed in m/s and height_m are infinite while they are not known."""

    def __init__(self) -> None:
        self._way: deque[tuple[float, Point]] = deque()
        self._rests = False
        self.speed = self.height_m = math.inf

    def move(self, ankle: Point | None, over: HeightReference, at_s: float) -> None:
        """Notice where the ankle is now, None where it is not seen."""
        way = self._way
        if ankle is None or (way and not 0 <= at_s - way[-1][0] <= _GAP_S):
            way.clear()
            self._rests = False
        self.speed = self.height_m = math.inf
        if ankle is None:
            return
        way.append((at_s, ankle))
        while len(way) > 2 and at_s - way[1][0] >= _OVER_S:
            way.popleft()
        (x, y, z), (up_x, up_y, up_z) = ankle, over.up
        self.height_m = x * up_x + y * up_y + z * up_z - over.zero
        since_s, (was_x, was_y, was_z) = at_s - way[0][0], way[0][1]
        if since_s < _LEAST_S:
            return
        dx, dy, dz = x - was_x, y - was_y, z - was_z
        along2 = (dx * x + dy * y + dz * z) ** 2 / (x * x + y * y + z * z)
        across2 = dx * dx + dy * dy + dz * dz - along2
        self.speed = math.sqrt(max(0.0, across2) + _DEPTH**2 * along2) / since_s

    def rests(self, level_m: float) -> bool | None:
        """Whether it rests, given on which level its owner stands."""
        if self.speed == math.inf:
            return None
        fast, high = (_LEAVE, _HIGH_M) if self._rests else (_REST, _LOW_M)
        self._rests = self.speed < fast and self.height_m - level_m < high
        return self._rests
