"""The One Euro filter."""

import msgspec
import numpy as np

from stream.errors import ConfigError
from stream.messages import F32
from stream.rotations import F64


class OneEuro:
    """The One Euro filter (Casiez, Roussel and Vogel 2012) on the joints of one person.

    A low-pass whose cutoff rises with a joint's speed, so that still joints do not shake and quick ones
    are not left behind. A joint follows 1 / (2 pi cutoff) seconds late. Everything rests on capture times:
    the longer nothing came, the more the next pose counts.
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
        self._raw: F64 = np.full((joints, 3), np.nan)  # as it last came, metres
        self._value: F64 = np.full((joints, 3), np.nan)  # as it was last answered
        self._speed: F64 = np.zeros((joints, 3))  # m/s
        self._at_ns = np.zeros(joints, np.int64)
        self.delay_ms: F64 = np.zeros(joints)  # by which each joint followed in the last answer

    def update(self, xyz: F32, captured_ns: int) -> F32:
        """Filtered joints (J, 3) float32 metres; a joint that is NaN stays so and leaves no trace."""
        here = np.asarray(np.isfinite(xyz).all(axis=1))
        since_s = (captured_ns - self._at_ns) / 1e9
        going = here & np.isfinite(self._value[:, 0]) & (since_s > 0)
        begun = here & ~going  # first seen, or the clock went back
        self._raw[begun] = self._value[begun] = xyz[begun]
        self._speed[begun] = self.delay_ms[begun] = 0.0

        step_s = since_s[going, None]
        moved = xyz[going] - self._raw[going]
        lag_s = 1 / (2 * np.pi * self._settings.speed_cutoff_hz)
        self._speed[going] += (moved - step_s * self._speed[going]) / (step_s + lag_s)
        fast = np.linalg.norm(self._speed[going], axis=1, keepdims=True)
        lag_s = 1 / (2 * np.pi * (self._settings.min_cutoff_hz + self._settings.beta * fast))
        self._value[going] += (xyz[going] - self._value[going]) * step_s / (step_s + lag_s)
        self._raw[going] = xyz[going]
        self.delay_ms[going] = 1e3 * lag_s[:, 0]
        self._at_ns[here] = captured_ns
        return np.where(here[:, None], self._value, np.nan).astype(np.float32)
