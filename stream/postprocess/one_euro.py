"""The One Euro filter: less jitter for joints at rest, little delay for fast ones."""

import msgspec
import numpy as np

from stream.errors import ConfigError
from stream.messages import F32
from stream.rotations import F64


class OneEuro:
    """The One Euro filter (Casiez, Roussel and Vogel 2012) on the joints of one person.

    A low-pass whose cutoff rises with a joint's speed, so that joints at rest do not shake and fast ones are
    not delayed. A joint follows 1 / (2 pi cutoff) seconds late. All steps depend on capture times: the longer
    the gap before a pose, the more that pose counts.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of the One Euro filter. A joint is delayed by 1 / (2 pi cutoff) seconds.

        min_cutoff_hz: Cutoff frequency in Hz for a joint at rest. A lower one removes more jitter and delays
        more.

        beta: Increase of the cutoff in Hz per m/s of speed. A higher one delays fast motion less.

        speed_cutoff_hz: Cutoff frequency in Hz for the estimate of the speed.
        """

        min_cutoff_hz: float = 2.0
        beta: float = 10.0
        speed_cutoff_hz: float = 2.0

        def __post_init__(self) -> None:
            if not (0 < self.min_cutoff_hz < np.inf and 0 < self.speed_cutoff_hz < np.inf):
                raise ConfigError(
                    "one_euro: expected min_cutoff_hz and speed_cutoff_hz above 0, "
                    f"got {self.min_cutoff_hz} and {self.speed_cutoff_hz}"
                )
            if not 0 <= self.beta < np.inf:
                raise ConfigError(f"one_euro beta: expected 0 or more Hz per m/s, got {self.beta}")

    def __init__(self, settings: Settings, joints: int) -> None:
        self._settings = settings
        self._input: F64 = np.full((joints, 3), np.nan)  # the last pose, metres
        self._output: F64 = np.full((joints, 3), np.nan)  # the last filtered pose, metres
        self._speed: F64 = np.zeros((joints, 3))  # m/s
        self._at_ns = np.zeros(joints, np.int64)
        self.delay_ms: F64 = np.zeros(joints)  # of each joint in the last filtered pose

    def update(self, xyz: F32, captured_ns: int) -> F32:
        """Filtered joints (J, 3) float32 metres; a NaN joint stays NaN and leaves the filter unchanged."""
        present = np.asarray(np.isfinite(xyz).all(axis=1))
        step_s = (captured_ns - self._at_ns) / 1e9
        running = present & np.isfinite(self._output[:, 0]) & (step_s > 0)
        starting = present & ~running  # new joints, or a clock that went back
        self._input[starting] = self._output[starting] = xyz[starting]
        self._speed[starting] = self.delay_ms[starting] = 0.0

        step_s = step_s[running, None]
        moved = xyz[running] - self._input[running]
        lag_s = 1 / (2 * np.pi * self._settings.speed_cutoff_hz)
        self._speed[running] += (moved - step_s * self._speed[running]) / (step_s + lag_s)
        speed = np.linalg.norm(self._speed[running], axis=1, keepdims=True)
        lag_s = 1 / (2 * np.pi * (self._settings.min_cutoff_hz + self._settings.beta * speed))
        self._output[running] += (xyz[running] - self._output[running]) * step_s / (step_s + lag_s)
        self._input[running] = xyz[running]
        self.delay_ms[running] = 1e3 * lag_s[:, 0]
        self._at_ns[present] = captured_ns
        return np.where(present[:, None], self._output, np.nan).astype(np.float32)
