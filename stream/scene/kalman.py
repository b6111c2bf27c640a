"""A coordinate of somebody's place, steadied over time."""

import math


class ConstantVelocityKalman:
    """A ConstantVelocityKalman filter of a coordinate and its speed, driven by timestamps.

    It follows a steady walk without delay; a measurement far off what was expected counts less. In plain
    floats, because arrays of two cost ten times as much.
    """

    _SURPRISE = 3.0  # standard deviations
    _BEFORE_S = 10.0  # for so long may a speed have strayed when somebody appears

    def __init__(self) -> None:
        self._at_s: float | None = None
        self._value = self._speed = 0.0
        # Variances of the value and of the speed, and what they share.
        self._vv = self._vs = self._ss = 0.0

    def update(self, measured: float, sd: float, at_s: float, unrest: float) -> float:
        """The filtered value at `at_s`, having measured `measured` with that standard deviation.

        unrest: by how much the speed strays within a second.
        """
        noise = sd * sd
        if self._at_s is None:
            self._value, self._at_s = measured, at_s
            self._vv, self._vs, self._ss = noise, 0.0, self._BEFORE_S * unrest**2
            return measured
        self._predict(max(0.0, at_s - self._at_s), unrest**2)
        self._at_s = max(self._at_s, at_s)
        off = measured - self._value
        noise *= max(1.0, abs(off) / (self._SURPRISE * math.sqrt(self._vv + noise))) ** 2
        gain_v, gain_s = self._vv / (self._vv + noise), self._vs / (self._vv + noise)
        self._value += gain_v * off
        self._speed += gain_s * off
        self._ss -= gain_s * self._vs
        self._vs -= gain_v * self._vs
        self._vv -= gain_v * self._vv
        return self._value

    def _predict(self, step_s: float, unrest2: float) -> None:
        self._value += self._speed * step_s
        # Of a speed that wanders at random: the same over a second, however many frames that has.
        self._vv += step_s * (2 * self._vs + step_s * (self._ss + unrest2 * step_s / 3))
        self._vs += step_s * (self._ss + unrest2 * step_s / 2)
        self._ss += unrest2 * step_s
