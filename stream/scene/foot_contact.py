"""Which feet rest on the floor, from the speed and the height of the ankles."""

import math
from collections import deque

from stream.messages import Contact

Point = tuple[float, float, float]

ANKLE_M = 0.085  # height of an adult's ankle above the floor

_SPEED_WINDOW_S = 0.1  # speed is measured over 0.1 s, which delays contacts by 0.05 s
_MIN_WINDOW_S = 0.03
_MAX_GAP_S = 0.3  # after a longer gap the history of a foot is dropped
_CONTACT_SPEED, _RELEASE_SPEED = 0.5, 0.8  # m/s: a slower foot comes to rest, a faster one leaves the floor
_CONTACT_HEIGHT_M, _RELEASE_HEIGHT_M = 0.07, 0.11  # above the level of the person, likewise
_DEPTH_WEIGHT = 0.3  # of speed along the line of sight, which one camera measures badly
_LEVEL_DOWN_S, _LEVEL_UP_S = 0.3, 3.0  # time constants with which the level of a person follows their feet
# The distance of that level from the floor, since body size and so distance from the camera is a guess.
_MAX_FLOOR_OFFSET_M = 0.35
_JUMP_HEIGHT_M = 0.2  # without a known floor, feet this far above their level are in the air


class HeightReference:
    """The plane from which heights are measured, in the camera's axes.

    up: unit vector (3,). height_m: of the camera above the floor; None when the floor is not known.
    zero: the height of a resting ankle along `up`. is_floor: the floor is known.
    """

    def __init__(self, up: Point, height_m: float | None) -> None:
        self.up, self.is_floor = up, height_m is not None
        self.zero = 0.0 if height_m is None else ANKLE_M - height_m


class FootContact:
    """The feet of one person. Both tests, speed and height, have hysteresis.

    A person who is smaller or taller than assumed seems to stand above or below the floor. Heights therefore
    count from the level of this person's slow feet. Once the floor is known the level stays near it, so that
    a person at the top of a jump, or on a chair, does not stand on the floor.
    """

    def __init__(self) -> None:
        self._left, self._right = _Foot(), _Foot()
        self._level_m: float | None = None
        self._was_floor = False
        self._at_s = -math.inf

    def update(
        self, ankles: tuple[Point | None, Point | None], reference: HeightReference, at_s: float
    ) -> Contact | None:
        """The contacts at time `at_s`; None when both are unknown.

        ankles: left and right in the camera's axes, metres; None for an ankle that is not visible.
        """
        feet = self._left, self._right
        for foot, ankle in zip(feet, ankles, strict=True):
            foot.update(ankle, reference, at_s)
        level_m = self._level(min(foot.height_m for foot in feet), reference.is_floor, at_s)
        left, right = (foot.in_contact(level_m) for foot in feet)
        return None if left is None and right is None else Contact(left, right)

    def _level(self, lowest_m: float, is_floor: bool, at_s: float) -> float:
        """The height above which feet count as raised, with the lower foot at `lowest_m`."""
        step_s, self._at_s = max(0.0, at_s - self._at_s), at_s
        if is_floor != self._was_floor:  # heights now have another zero
            self._was_floor, self._level_m = is_floor, None
        slow_m = [foot.height_m for foot in (self._left, self._right) if foot.speed < _CONTACT_SPEED]
        resting_m = min(slow_m, default=math.inf)  # the lowest slow foot
        if abs(resting_m) <= _MAX_FLOOR_OFFSET_M or (not is_floor and resting_m < math.inf):
            if self._level_m is None:
                self._level_m = resting_m
            constant_s = _LEVEL_DOWN_S if resting_m < self._level_m else _LEVEL_UP_S
            self._level_m += (resting_m - self._level_m) * min(1.0, step_s / constant_s)
        if is_floor:
            if self._level_m is None:
                return min(max(lowest_m, -_MAX_FLOOR_OFFSET_M), _MAX_FLOOR_OFFSET_M)
            return self._level_m
        # Up is uncertain here: walking away may look like a slow rise, but not like a jump.
        if self._level_m is not None and lowest_m - self._level_m > _JUMP_HEIGHT_M:
            return self._level_m
        return lowest_m


class _Foot:
    """The recent path of one ankle. speed in m/s and height_m are infinite while they are unknown."""

    def __init__(self) -> None:
        self._path: deque[tuple[float, Point]] = deque()
        self._in_contact = False
        self.speed = self.height_m = math.inf

    def update(self, ankle: Point | None, reference: HeightReference, at_s: float) -> None:
        """Take the position of the ankle, None when it is not visible."""
        path = self._path
        if ankle is None or (path and not 0 <= at_s - path[-1][0] <= _MAX_GAP_S):
            path.clear()
            self._in_contact = False
        self.speed = self.height_m = math.inf
        if ankle is None:
            return
        path.append((at_s, ankle))
        while len(path) > 2 and at_s - path[1][0] >= _SPEED_WINDOW_S:
            path.popleft()
        (x, y, z), (up_x, up_y, up_z) = ankle, reference.up
        self.height_m = x * up_x + y * up_y + z * up_z - reference.zero
        window_s, (start_x, start_y, start_z) = at_s - path[0][0], path[0][1]
        if window_s < _MIN_WINDOW_S:
            return
        dx, dy, dz = x - start_x, y - start_y, z - start_z
        depth2 = (dx * x + dy * y + dz * z) ** 2 / (x * x + y * y + z * z)
        lateral2 = dx * dx + dy * dy + dz * dz - depth2
        self.speed = math.sqrt(max(0.0, lateral2) + _DEPTH_WEIGHT**2 * depth2) / window_s

    def in_contact(self, level_m: float) -> bool | None:
        """Whether the foot rests on the person's level; None when its speed is unknown."""
        if self.speed == math.inf:
            return None
        if self._in_contact:
            max_speed, max_height_m = _RELEASE_SPEED, _RELEASE_HEIGHT_M
        else:
            max_speed, max_height_m = _CONTACT_SPEED, _CONTACT_HEIGHT_M
        self._in_contact = self.speed < max_speed and self.height_m - level_m < max_height_m
        return self._in_contact
