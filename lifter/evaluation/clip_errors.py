"""Errors of a lifter on rendered test clips: all frames or single ones, by source and by apparent size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lifter.evaluation import metrics
from lifter.evaluation.labelled_video import asymmetry_mm, bone_variation
from lifter.evaluation.metrics import F64
from lifter.evaluation.motion_complexity import MotionErrors, MotionThird
from lifter.evaluation.offline_lifter import FramePlace, OfflineLifter
from lifter.synthesis.fill_gaps import fill_missing_joints
from lifter.synthesis.synthetic_clips import SyntheticClip
from stream.messages import F32

STEP_FRAMES, FIRST_FRAME = 120, 40  # single frames that are lifted: every 2.4 s, from 0.8 s on
LiftClip = Callable[[SyntheticClip], F32]  # poses (L, 17, 3) of all frames of a clip


@dataclass(slots=True)
class ClipErrors:
    """Errors of all clips: a row (frames, 2) of MPJPE and P-MPJPE in mm per clip, and its group."""

    groups: list[str] = field(default_factory=list)
    frames: list[F64] = field(default_factory=list)
    steadiness: list[F64] = field(default_factory=list)

    def add(self, clip: SyntheticClip, poses: F32, truth: F32, successive: bool = False) -> None:
        """Add poses (N, 17, 3) of a clip; successive: of successive frames, so steadiness counts too."""
        a, b = poses.astype(np.float64), truth.astype(np.float64)
        self.groups.append(group_of(clip))
        self.frames.append(np.stack([metrics.mpjpe(a, b), metrics.p_mpjpe(a, b)], axis=1))
        if successive:
            self.steadiness.append(steadiness(a, b))

    def mean(self, groups: Sequence[str] | None = None) -> tuple[float, float]:
        """Mean MPJPE and P-MPJPE in mm over the frames of some groups, or of all; NaN without frames."""
        rows = [f for g, f in zip(self.groups, self.frames, strict=True) if groups is None or g in groups]
        if not rows:
            return float("nan"), float("nan")
        mpjpe, p_mpjpe = np.concatenate(rows).mean(axis=0).tolist()
        return mpjpe, p_mpjpe

    def mean_steadiness(self, groups: Sequence[str]) -> F64:
        """Means of `steadiness` over the frames of the clips of some groups, (5,)."""
        clips = [number for number, name in enumerate(self.groups) if name in groups]
        weights = [len(self.frames[clip]) for clip in clips]
        means: F64 = np.average([self.steadiness[clip] for clip in clips], axis=0, weights=weights)
        return means


def steadiness(poses: F64, truth: F64) -> F64:
    """Steadiness (5,) of successive poses (L, 17, 3).

    Velocity error (mm per frame), acceleration and the truth's acceleration (mm per frame squared), variation
    of limb lengths over time (percent), difference between left and right limb lengths (mm).
    """
    return np.array(
        [
            metrics.mpjve(poses, truth).mean(),
            metrics.acceleration(poses, truth).mean(),
            metrics.acceleration(truth, truth).mean(),
            bone_variation(poses),
            asymmetry_mm(poses),
        ]
    )


def group_of(clip: SyntheticClip) -> str:
    """The database of a clip: the first word of its source's name."""
    return clip.source.partition("_")[0]


def errors_of_all_frames(clips: Sequence[SyntheticClip], lift: LiftClip) -> ClipErrors:
    """Errors of all frames of the poses that `lift` returns."""
    errors = ClipErrors()
    for clip in clips:
        errors.add(clip, lift(clip), clip.truth, successive=True)
    return errors


def with_detector(lifter: OfflineLifter) -> LiftClip:
    """Lifts the keypoints with simulated detector errors."""
    return lambda clip: lifter.lift(clip.keypoints, clip.size_wh)


def with_exact_2d(lifter: OfflineLifter) -> LiftClip:
    """Lifts the projections of the true joints."""
    return lambda clip: lifter.lift(clip.exact(), clip.size_wh)


def at_true_depth(clip: SyntheticClip) -> F32:
    """Detected keypoints (L, 17, 3) in metres at the true depth: the error that 2D errors alone cause."""
    keypoints = torch.from_numpy(clip.keypoints[None])
    xy = fill_missing_joints(keypoints[..., :2], keypoints[..., 2] > 0)[0].numpy()
    metres_per_px = (clip.truth[..., 2:] + clip.root[:, None, 2:]) / (clip.camera[0] * clip.size_wh[0] / 2)
    poses = clip.truth.copy()
    poses[..., :2] += (xy - clip.clean) * metres_per_px
    return poses - poses[:, :1]


def errors_of_single_frames(
    clips: Sequence[SyntheticClip], lifter: OfflineLifter, place: FramePlace
) -> ClipErrors:
    """Errors of some frames lifted alone, each in the centre of its window or the newest."""
    errors = ClipErrors()
    for clip in clips:
        frames = np.arange(FIRST_FRAME, len(clip.truth), STEP_FRAMES)
        if len(frames):
            poses = lifter.lift_frames(clip.keypoints, clip.size_wh, frames, place)
            errors.add(clip, poses, clip.truth[frames])
    return errors


def detector_errors(clips: Sequence[SyntheticClip]) -> tuple[float, float]:
    """Median 2D error of the simulated detector in mm at the person, and its missing joints in percent."""
    visible = [clip.keypoints[..., 2] > 0 for clip in clips]
    distances_m = [
        np.linalg.norm(clip.keypoints[..., :2] - clip.clean, axis=-1) / clip.metre_px[:, None]
        for clip in clips
    ]
    visible_m = np.concatenate([m[mask] for m, mask in zip(distances_m, visible, strict=True)])
    missing_percent = 100 * (1 - np.concatenate([mask.ravel() for mask in visible]).mean())
    return float(metrics.MM * np.median(visible_m)), float(missing_percent)


def errors_by_size(
    clips: Sequence[SyntheticClip], errors: ClipErrors, edges: Sequence[float]
) -> list[tuple[float, int]]:
    """MPJPE in mm and number of frames by the share of the image's height that the person spans.

    edges: rising shares that separate the bins; there is a bin below the first and one above the last.
    """
    heights = [np.ptp(clip.clean, axis=1).max(axis=1) / clip.size_wh[1] for clip in clips]
    bins = np.digitize(np.concatenate(heights), edges)
    mpjpe = np.concatenate(errors.frames)[:, 0]
    parts = [mpjpe[bins == number] for number in range(len(edges) + 1)]
    return [(float(part.mean()) if len(part) else float("nan"), len(part)) for part in parts]


def errors_by_motion(clips: Sequence[SyntheticClip], errors: ClipErrors) -> list[MotionThird]:
    """Errors of all frames in thirds by the speed and by the acceleration of the true pose."""
    motion = MotionErrors()
    for clip, frames in zip(clips, errors.frames, strict=True):
        motion.add_errors(clip.truth, clip.rate_hz, frames, np.arange(len(frames)))
    return motion.thirds()
