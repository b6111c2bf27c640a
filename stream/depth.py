"""How far away somebody is, steadied over time."""

import numpy as np

from stream.camera import F64

_LEAST_M = 0.2  # nearer than this no body can be seen


class Depth:
    """A distance over time: a Kalman filter of distance and speed, driven by timestamps.

    It follows a steady walk without delay; a distance far off what was expected counts less.
    """

    _SPEED_SD = 1.0  # m/s, of somebody who has just appeared
    _UNREST = 0.3  # by how many m/s a speed strays within a second
    _LEAST_SD = 0.02  # of a distance, relative: errors of neighbouring frames are alike
    _SURPRISE = 3.0  # standard deviations

    def __init__(self) -> None:
        self._state: F64 | None = None  # metres, metres per second
        self._covariance: F64 = np.zeros((2, 2))
        self._at_s = 0.0

    def update(self, depth: float, depth_sd: float, at_s: float) -> float:
        """The filtered distance in metres at `at_s`, having measured `depth` with that uncertainty."""
        noise = max(depth_sd, self._LEAST_SD * depth) ** 2
        if self._state is None:
            self._state, self._at_s = np.array([depth, 0.0]), at_s
            self._covariance = np.diag([noise, self._SPEED_SD**2])
            return depth
        self._predict(max(0.0, at_s - self._at_s))
        self._at_s = max(self._at_s, at_s)
        off = depth - self._state[0]
        expected = self._covariance[0, 0] + noise
        noise *= max(1.0, abs(off) / (self._SURPRISE * np.sqrt(expected))) ** 2
        gain = self._covariance[:, 0] / (self._covariance[0, 0] + noise)
        self._state = self._state + gain * off
        self._covariance = self._covariance - np.outer(gain, self._covariance[0])
        self._state[0] = max(self._state[0], _LEAST_M)
        return float(self._state[0])

    def _predict(self, step_s: float) -> None:
        move = np.array([[1.0, step_s], [0.0, 1.0]])
        # Of a speed that wanders at random: the same over a second, however many frames that has.
        strayed = np.array([[step_s**3 / 3, step_s**2 / 2], [step_s**2 / 2, step_s]])
        self._state = move @ self._state
        self._covariance = move @ self._covariance @ move.T + self._UNREST**2 * strayed
