"""Errors of a lifter on test clips, plain and under disturbances, and its steadiness.

All random numbers have fixed seeds, so that a figure is reproducible. Errors are MPJPE and P-MPJPE in mm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from lifter.evaluation import disturbances as disturb
from lifter.evaluation import metrics
from lifter.evaluation.clip_errors import ClipErrors, errors_of_all_frames
from lifter.evaluation.metrics import F64
from lifter.evaluation.offline_lifter import OfflineLifter
from lifter.joints import LOWER_BODY, RIGHT_SIDE
from lifter.synthesis.synthetic_clips import SyntheticClip
from stream.messages import F32

_SEED = 40_000
MeanErrors = tuple[float, float]  # MPJPE, P-MPJPE mm
Clips = Sequence[SyntheticClip]

HALVES = {"legs and hips out of the picture": LOWER_BODY, "right half hidden": RIGHT_SIDE}


def half_occluded(clips: Clips, lifter: OfflineLifter) -> dict[str, tuple[float, float]]:
    """MPJPE with half of the body missing: of all joints, and of the visible ones about their mean."""
    results = {}
    for name, joints in HALVES.items():
        visible = [joint for joint in range(17) if joint not in joints]
        all_joints_mm, visible_mm = [], []
        for clip in clips:
            poses = lifter.lift(disturb.hide_joints(clip.exact(), joints), clip.size_wh).astype(np.float64)
            truth = clip.truth.astype(np.float64)
            all_joints_mm.append(metrics.mpjpe(poses, truth))
            difference: F64 = (poses - truth)[:, visible]
            visible_mm.append(metrics.mpjpe(difference, difference.mean(axis=1, keepdims=True)))
        results[name] = float(np.concatenate(all_joints_mm).mean()), float(np.concatenate(visible_mm).mean())
    return results


@dataclass(frozen=True, slots=True)
class DisturbanceCurve:
    """Errors against the strength of one disturbance: a pair (MPJPE, P-MPJPE) in mm per level."""

    name: str
    unit: str
    levels: tuple[float, ...]
    errors: tuple[MeanErrors, ...]


@dataclass(frozen=True, slots=True)
class _Disturbance:
    """A disturbance to measure: keypoints from a clip, the clip's number and a level."""

    name: str
    unit: str
    levels: tuple[float, ...]
    apply: Callable[[SyntheticClip, int, float], F32]


def _generator(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(_SEED + number)


_DISTURBANCES = (
    _Disturbance(
        "joints missing", "%", (0, 10, 20, 30, 40, 50),
        lambda clip, number, level: disturb.drop_joints(clip.exact(), level / 100, _generator(number)),
    ),
    _Disturbance(
        "outliers", "%", (0, 5, 10, 20),
        lambda clip, number, level: disturb.add_outliers(clip, level / 100, _generator(number)),
    ),
    _Disturbance(
        "the detector's errors", "x", (0, 1, 2, 3),
        lambda clip, number, level: disturb.scale_noise(clip, level),
    ),
)  # fmt: skip


def disturbance_curves(clips: Clips, lifter: OfflineLifter, quick: bool = False) -> list[DisturbanceCurve]:
    """Errors with joints missing, with outliers, and with scaled detector errors; quick: two levels each."""
    numbers = {id(clip): number for number, clip in enumerate(clips)}

    def measure(disturbance: _Disturbance, level: float) -> MeanErrors:
        def lift(clip: SyntheticClip) -> F32:
            return lifter.lift(disturbance.apply(clip, numbers[id(clip)], level), clip.size_wh)

        return errors_of_all_frames(clips, lift).mean()

    curves = []
    for disturbance in _DISTURBANCES:
        levels = disturbance.levels[:: len(disturbance.levels) - 1] if quick else disturbance.levels
        errors = tuple(measure(disturbance, level) for level in levels)
        curves.append(DisturbanceCurve(disturbance.name, disturbance.unit, levels, errors))
    return curves


def at_frame_rates(clips: Clips, lifter: OfflineLifter, factors: Sequence[float]) -> list[MeanErrors]:
    """Errors of cameras with `factors` times the frame rate; the clips' durations stay the same."""
    return [_mean_errors(clips, lifter, partial(disturb.change_rate, factor=factor)) for factor in factors]


def at_frame_rates_resampled(
    clips: Clips, lifter: OfflineLifter, factors: Sequence[float]
) -> list[MeanErrors]:
    """As `at_frame_rates`, with keypoints interpolated to the clip's own frame times before lifting."""

    def back(clip: SyntheticClip, factor: float) -> tuple[F32, F32]:
        keypoints = disturb.resample(disturb.change_rate(clip, factor)[0], 1 / factor)
        return keypoints, clip.truth[: len(keypoints)]

    return [_mean_errors(clips, lifter, partial(back, factor=factor)) for factor in factors]


def with_rolled_camera(clips: Clips, lifter: OfflineLifter, roll_deg: float) -> MeanErrors:
    """Errors with the camera rolled around its viewing axis."""
    return _mean_errors(clips, lifter, partial(disturb.roll_camera, roll_deg=roll_deg))


def _mean_errors(
    clips: Clips, lifter: OfflineLifter, change: Callable[[SyntheticClip], tuple[F32, F32]]
) -> MeanErrors:
    """Mean errors over all frames, with the keypoints and the truth that `change` returns for a clip."""
    errors = ClipErrors()
    for clip in clips:
        keypoints, truth = change(clip)
        errors.add(clip, lifter.lift(keypoints, clip.size_wh), truth)
    return errors.mean()


def mirror_gap_mm(clips: Clips, lifter: OfflineLifter) -> float:
    """Mean joint distance between the mirrored pose and the pose of the mirrored keypoints, mm."""
    gaps = []
    for clip in clips:
        mirrored_poses = disturb.mirror_points(lifter.lift(clip.keypoints, clip.size_wh))
        poses = lifter.lift(disturb.mirror_keypoints(clip.keypoints, clip.size_wh[0]), clip.size_wh)
        gaps.append(metrics.mpjpe(mirrored_poses.astype(np.float64), poses.astype(np.float64)))
    return float(np.concatenate(gaps).mean())


def standing_jitter_mm(clips: Clips, lifter: OfflineLifter, noisy: bool) -> float:
    """Mean joint movement per frame of a person who stands still, mm; noisy: with detector errors."""
    jitter_mm = []
    for clip in clips:
        keypoints = disturb.stand_still(clip, lifter.spec.frames, noisy)
        poses = lifter.lift(keypoints, clip.size_wh).astype(np.float64)
        jitter_mm.append(metrics.MM * np.linalg.norm(np.diff(poses, axis=0), axis=-1).mean())
    return float(np.mean(jitter_mm))
