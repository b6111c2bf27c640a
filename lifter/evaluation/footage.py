"""Real videos with a known truth: what is measured of a lifter's poses on them, and of the detector's own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifter.evaluation import metrics
from lifter.evaluation.reader import Reader
from stream.messages import F32

LIMB_JOINTS = (1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16)
_LIMBS = ((1, 2), (2, 3), (4, 5), (5, 6), (11, 12), (12, 13), (14, 15), (15, 16))
_RIGHT, _LEFT = (0, 1, 6, 7), (2, 3, 4, 5)  # among those


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """A video of one person, L frames.

    rate_hz frames per second; keypoints (L, 17, 3) x px, y px, score, of a detector; truth (L, 17, 3) metres,
    from the pelvis, in camera axes; world (L, 17, 3) what the detector itself says of them; joints whose
    truth was measured.
    """

    name: str
    size_wh: tuple[int, int]
    rate_hz: float
    keypoints: F32
    truth: F32
    world: F32
    joints: tuple[int, ...] = LIMB_JOINTS


@dataclass(frozen=True, slots=True)
class Marks:
    """MPJPE, P-MPJPE mm; bone lengths' standard deviation over time in percent; mm per frame squared."""

    mpjpe: float
    p_mpjpe: float
    bones: float
    acceleration: float


def marks(poses: F32, footage: Footage) -> Marks:
    """Of poses (L, 17, 3), root-relative; means over frames and the video's joints."""
    joints = list(footage.joints)
    a, b = poses[:, joints].astype(np.float64), footage.truth[:, joints].astype(np.float64)
    return Marks(
        float(metrics.mpjpe(a, b).mean()),
        float(metrics.p_mpjpe(a, b).mean()),
        bone_variation(poses),
        float(metrics.acceleration(a, b).mean()),
    )


def bone_variation(poses: NDArray) -> float:
    """How the lengths of thighs, shins and arms of poses (L, 17, 3) vary over time: deviation, percent."""
    length = _lengths(poses)
    return float(100 * (length.std(axis=0) / length.mean(axis=0).clip(1e-9)).mean())


def asymmetry(poses: NDArray) -> float:
    """By how much thighs, shins and arms of poses (L, 17, 3) differ in length from the other side's, mm."""
    length = _lengths(poses)
    return float(metrics.MM * np.abs(length[:, _RIGHT] - length[:, _LEFT]).mean())


def _lengths(poses: NDArray) -> NDArray[np.float64]:
    """Lengths (L, 8) of thighs, shins and arms, metres."""
    first, second = zip(*_LIMBS, strict=True)
    return np.linalg.norm((poses[:, first] - poses[:, second]).astype(np.float64), axis=-1)


def offline(reader: Reader, footage: Footage) -> F32:
    """Poses with all frames of the window around each."""
    return reader.every(footage.keypoints, footage.size_wh)


def live(reader: Reader, footage: Footage) -> F32:
    """Poses of which each is the newest of its window."""
    frames = np.arange(len(footage.keypoints))
    return reader.at(footage.keypoints, footage.size_wh, frames, "newest")
