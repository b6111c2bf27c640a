"""Real videos with a known truth, and the errors of poses on them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifter.evaluation import metrics
from lifter.evaluation.metrics import F64
from lifter.evaluation.offline_lifter import OfflineLifter
from lifter.joints import LIMB_JOINTS, LIMBS, RIGHT_SIDE
from stream.messages import F32

_STARTS, _ENDS = (list(joints) for joints in zip(*LIMBS, strict=True))
_RIGHT = [limb for limb, joint in enumerate(_ENDS) if joint in RIGHT_SIDE]
_LEFT = [limb for limb, joint in enumerate(_ENDS) if joint not in RIGHT_SIDE]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVideo:
    """A video of one person, L frames.

    rate_hz: frames per second; keypoints (L, 17, 3) float32: x px, y px, score, of a detector; truth
    (L, 17, 3) float32: metres, from the pelvis, in camera axes; world (L, 17, 3) float32: the detector's own
    3D pose in the same axes; joints: the joints whose truth was measured.
    """

    name: str
    size_wh: tuple[int, int]
    rate_hz: float
    keypoints: F32
    truth: F32
    world: F32
    joints: tuple[int, ...] = LIMB_JOINTS


@dataclass(frozen=True, slots=True)
class VideoScores:
    """Errors on a video: means over its frames and its measured joints.

    mpjpe, p_mpjpe: mm; bone_variation: standard deviation of limb lengths over time, percent; acceleration:
    mm per frame squared.
    """

    mpjpe: float
    p_mpjpe: float
    bone_variation: float
    acceleration: float


def video_scores(poses: F32, video: LabelledVideo) -> VideoScores:
    """Errors of root-relative poses (L, 17, 3) in metres of all frames of a video."""
    joints = list(video.joints)
    a, b = poses[:, joints].astype(np.float64), video.truth[:, joints].astype(np.float64)
    return VideoScores(
        float(metrics.mpjpe(a, b).mean()),
        float(metrics.p_mpjpe(a, b).mean()),
        bone_variation(poses),
        float(metrics.acceleration(a, b).mean()),
    )


def bone_variation(poses: NDArray[Any]) -> float:
    """Standard deviation over time of the limb lengths of poses (L, 17, 3), percent of their means."""
    length_m = _limb_lengths_m(poses)
    return float(100 * (length_m.std(axis=0) / length_m.mean(axis=0).clip(1e-9)).mean())


def asymmetry_mm(poses: NDArray[Any]) -> float:
    """Mean difference between the lengths of left and right limbs of poses (L, 17, 3), mm."""
    length_m = _limb_lengths_m(poses)
    return float(metrics.MM * np.abs(length_m[:, _RIGHT] - length_m[:, _LEFT]).mean())


def _limb_lengths_m(poses: NDArray[Any]) -> F64:
    """Lengths (L, 8) of thighs, shins, upper and lower arms, metres."""
    length_m: F64 = np.linalg.norm((poses[:, _STARTS] - poses[:, _ENDS]).astype(np.float64), axis=-1)
    return length_m


def lift_offline(lifter: OfflineLifter, video: LabelledVideo) -> F32:
    """Poses (L, 17, 3) of all frames, lifted in windows side by side."""
    return lifter.lift(video.keypoints, video.size_wh)


def lift_newest(lifter: OfflineLifter, video: LabelledVideo) -> F32:
    """Poses (L, 17, 3) of all frames, each the newest frame of its own window."""
    frames = np.arange(len(video.keypoints))
    return lifter.lift_frames(video.keypoints, video.size_wh, frames, "newest")
