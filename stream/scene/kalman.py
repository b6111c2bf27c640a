"""A Kalman filter of one coordinate."""

import math


class ConstantVelocityKalman:
    """A Kalman filter of a coordinate and its speed, driven by timestamps.

    It follows a steady walk without delay; a measurement far from the prediction counts less. It uses plain
    floats, because arrays of two cost ten times as much.
    """

    _OUTLIER_SIGMAS = 3.0  # beyond so many standard deviations a measurement counts less
    _INITIAL_S = 10.0  # the first speed is as uncertain as after so long without a measurement

    def __init__(self) -> None:
        self._at_s: float | None = None
        self._x = self._v = 0.0
        # The covariance of the coordinate x and its speed v.
        self._p_xx = self._p_xv = self._p_vv = 0.0

    def update(self, measured: float, sd: float, at_s: float, accel_noise: float) -> float:
        """The filtered coordinate at time `at_s`, after a measurement with standard deviation `sd`.

        accel_noise: standard deviation of the change of speed within a second.
        """
        variance = sd * sd
        if self._at_s is None:
            self._x, self._at_s = measured, at_s
            self._p_xx, self._p_xv, self._p_vv = variance, 0.0, self._INITIAL_S * accel_noise**2
            return measured
        self._predict(max(0.0, at_s - self._at_s), accel_noise**2)
        self._at_s = max(self._at_s, at_s)
        residual = measured - self._x
        variance *= max(1.0, abs(residual) / (self._OUTLIER_SIGMAS * math.sqrt(self._p_xx + variance))) ** 2
        gain_x, gain_v = self._p_xx / (self._p_xx + variance), self._p_xv / (self._p_xx + variance)
        self._x += gain_x * residual
        self._v += gain_v * residual
        self._p_vv -= gain_v * self._p_xv
        self._p_xv -= gain_x * self._p_xv
        self._p_xx -= gain_x * self._p_xx
        return self._x

    def _predict(self, step_s: float, accel_variance: float) -> None:
        self._x += self._v * step_s
        # White noise of the acceleration adds the same uncertainty per second at every frame rate.
        self._p_xx += step_s * (2 * self._p_xv + step_s * (self._p_vv + accel_variance * step_s / 3))
        self._p_xv += step_s * (self._p_vv + accel_variance * step_s / 2)
        self._p_vv += accel_variance * step_s
