"""Mean poses: their size and their facing."""

from pathlib import Path

import torch

from lifter.evaluation.clip_errors import errors_of_all_frames
from lifter.evaluation.mean_pose import FACINGS, mean_poses
from lifter.synthesis.synthetic_clips import SyntheticClip


def test_mean_poses_of_facings_face_their_direction_and_are_more_accurate(
    folder: Path, clips: list[SyntheticClip]
) -> None:
    mean, facing = mean_poses(folder / "motion.npz")
    assert (mean.poses.shape, facing.poses.shape) == ((1, 17, 3), (FACINGS, 17, 3))
    hips = facing.poses[:, 4] - facing.poses[:, 1]
    angle = torch.atan2(hips[:, 2], hips[:, 0]).remainder(2 * torch.pi)
    expected = torch.arange(FACINGS) * 2 * torch.pi / FACINGS
    assert torch.cos(angle - expected).min() > 0.9
    errors = [errors_of_all_frames(clips, mean_pose.lift).mean()[0] for mean_pose in (mean, facing)]
    assert errors[1] < 0.95 * errors[0]
