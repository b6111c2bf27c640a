"""Errors by the complexity of the true motion: thirds of the frames by speed and by acceleration.

Pruning relies on successive frames being alike (section 1 of the paper), so its cost should show in fast and
in abruptly changing motion first.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifter.evaluation import metrics
from lifter.evaluation.metrics import F64

_HALF_SPAN_S = 0.05  # differences over less time measure the noise of motion capture
_THIRDS = (1 / 3, 2 / 3)


class MotionThird(NamedTuple):
    """A third of all frames: its name with its bounds, number of frames, and errors in mm."""

    name: str
    frames: int
    mpjpe: float
    p_mpjpe: float


class MotionErrors:
    """Collects the errors of frames and groups them by the true motion around each frame."""

    def __init__(self) -> None:
        self._motion: list[F64] = []  # (N, 2): m/s and m/s^2
        self._errors: list[F64] = []  # (N, 2): MPJPE and P-MPJPE in mm

    def add(
        self, truth: NDArray[Any], rate_hz: float, predicted: NDArray[Any], frames: NDArray[np.int64]
    ) -> None:
        """Add poses (N, J, 3) of some `frames` (N,) of a video with true poses (L, J, 3), in metres."""
        target = truth[frames].astype(np.float64)
        errors = metrics.mpjpe(predicted, target), metrics.p_mpjpe(predicted.astype(np.float64), target)
        self.add_errors(truth, rate_hz, np.stack(errors, axis=1), frames)

    def add_errors(self, truth: NDArray[Any], rate_hz: float, errors: F64, frames: NDArray[np.int64]) -> None:
        """As `add`, with the errors (N, 2) themselves: MPJPE and P-MPJPE in mm."""
        motion = np.stack([speed_m_s(truth, rate_hz), acceleration_m_s2(truth, rate_hz)], axis=1)
        self._motion.append(motion[frames])
        self._errors.append(errors)

    def thirds(self) -> list[MotionThird]:
        """Three thirds by speed, then three by acceleration; none without frames."""
        if not self._motion:
            return []
        motion, errors = np.concatenate(self._motion), np.concatenate(self._errors)
        return [
            *_thirds("speed", "m/s", motion[:, 0], errors),
            *_thirds("acceleration", "m/s2", motion[:, 1], errors),
        ]

    def text(self) -> str:
        """The thirds as text in columns."""
        head = f"{'frames by the motion of the true pose':<40}{'frames':>9}{'mpjpe':>9}{'p_mpjpe':>9}"
        lines = [
            f"{third.name:<40}{third.frames:>9}{third.mpjpe:>9.2f}{third.p_mpjpe:>9.2f}"
            for third in self.thirds()
        ]
        return "\n".join([head, *lines])


def speed_m_s(truth: NDArray[Any], rate_hz: float) -> F64:
    """Mean speed (L,) of the joints of true poses (L, J, 3) in metres, over 0.1 s around each frame."""
    before, after = _neighbours(len(truth), rate_hz)
    moved: F64 = np.linalg.norm((truth[after] - truth[before]).astype(np.float64), axis=-1).mean(axis=1)
    speed: F64 = moved * rate_hz / np.maximum(after - before, 1)
    return speed


def acceleration_m_s2(truth: NDArray[Any], rate_hz: float) -> F64:
    """Mean acceleration (L,) of the joints of true poses (L, J, 3) in metres, over 0.1 s around each frame.

    The first and the last frames get the value of the nearest frame that has both neighbours.
    """
    half, length = _half_span(rate_hz), len(truth)
    if length < 2 * half + 1:
        return np.zeros(length)
    middle = np.arange(length).clip(half, length - 1 - half)
    change = truth[middle + half] - 2 * truth[middle] + truth[middle - half]
    acceleration: F64 = np.linalg.norm(change.astype(np.float64), axis=-1).mean(axis=1)
    return acceleration * (rate_hz / half) ** 2


def _half_span(rate_hz: float) -> int:
    return max(1, round(_HALF_SPAN_S * rate_hz))


def _neighbours(length: int, rate_hz: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames (L,) before and after every frame, inside the video."""
    half, frames = _half_span(rate_hz), np.arange(length)
    return (frames - half).clip(0), (frames + half).clip(max=length - 1)


def _thirds(measure: str, unit: str, values: F64, errors: F64) -> list[MotionThird]:
    edges = np.quantile(values, _THIRDS)
    low, high = edges.tolist()
    names = (f"below {low:.2f}", f"{low:.2f} to {high:.2f}", f"above {high:.2f}")
    third = np.digitize(values, edges)
    rows = []
    for number, name in enumerate(names):
        part = errors[third == number]
        mpjpe, p_mpjpe = part.mean(axis=0).tolist() if len(part) else (np.nan, np.nan)
        rows.append(MotionThird(f"{measure} {name} {unit}", len(part), mpjpe, p_mpjpe))
    return rows
