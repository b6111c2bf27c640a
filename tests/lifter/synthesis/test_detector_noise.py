"""The simulated detector gives keypoints near the truth, with scores that know their errors."""

from pathlib import Path

import pytest
import torch

from lifter.data.mocap import MocapClips
from lifter.data.mocap_joints import PELVIS
from lifter.synthesis.detector_habits import DetectorHabits, cut_people, merge_people
from lifter.synthesis.detector_noise import simulate_detector
from lifter.synthesis.noise import WindowRandom
from lifter.synthesis.virtual_camera import random_views
from tests.lifter.mocap_clips import random_windows, seeded, walking_clips


@pytest.fixture
def walking(tmp_path: Path) -> MocapClips:
    return walking_clips(tmp_path)


def test_keypoints_of_high_score_are_nearer_to_the_truth(walking: MocapClips) -> None:
    view = random_views(random_windows(walking, 256), seeded(4))
    keypoints = simulate_detector(view, seeded(5))
    assert keypoints.shape == (256, 30, 17, 3)
    assert keypoints.isfinite().all()
    score = keypoints[..., 2]
    assert (score.min(), score.max()) >= (0, 0)
    assert score.max() <= 1
    metre_px = view.focal_px[:, None, None] / view.xyz[:, :, :1, 2]
    error = (keypoints[..., :2] - view.project(view.xyz[:, :, :17])).norm(dim=-1) / metre_px
    assert error[score > 0.8].median() < 0.05
    low = (score > 0) & (score < 0.3)
    assert error[low].median() > 1.5 * error[score > 0.8].median()


def test_a_detector_without_habits_gives_the_same_keypoints_as_before(walking: MocapClips) -> None:
    view = random_views(random_windows(walking, 16), seeded(4))
    assert simulate_detector(view, seeded(5), DetectorHabits()).equal(simulate_detector(view, seeded(5)))


def test_every_habit_changes_the_keypoints(walking: MocapClips) -> None:
    view = random_views(random_windows(walking, 64), seeded(4))
    plain = simulate_detector(view, seeded(5))
    for habits in (
        DetectorHabits(exchanges=1.0),
        DetectorHabits(low_joints=1.0),
        DetectorHabits(knee_wobble_m=0.03),
        DetectorHabits(ghosts=1.0),
        DetectorHabits(merged=1.0),
        DetectorHabits(cut=1.0),
    ):
        keypoints = simulate_detector(view, seeded(5), habits)
        assert keypoints.isfinite().all()
        assert not keypoints.equal(plain)


def test_a_merged_limb_lies_beside_the_person_for_some_frames_with_unchanged_scores(
    walking: MocapClips,
) -> None:
    view = random_views(random_windows(walking, 64), seeded(4))
    xy = view.project(view.xyz)
    score = torch.rand(xy.shape[:3], generator=seeded(6))
    merged, same_score = merge_people(xy, score, DetectorHabits(merged=1.0), WindowRandom(64, seeded(5)))
    assert same_score is score
    moved = (merged != xy).any(dim=-1)  # (B, F, J)
    assert not moved[:, :, PELVIS].any()
    joints_moved = moved.any(dim=1).sum(dim=1)
    assert set(joints_moved[joints_moved > 0].tolist()) <= {2, 3, 6}
    share = moved.any(dim=2).float().mean()
    assert 0.03 < share < 0.3
    body_px = (xy - xy.mean(dim=2, keepdim=True)).norm(dim=-1).mean(dim=(1, 2), keepdim=True)
    distance = ((merged - xy).norm(dim=-1) / body_px)[moved]
    assert distance.median() > 1


def test_hidden_joints_of_a_cut_person_are_guessed_near_the_line_with_low_scores(walking: MocapClips) -> None:
    view = random_views(random_windows(walking, 64), seeded(4))
    xy = view.project(view.xyz)
    score = torch.ones(xy.shape[:3])
    cut, low = cut_people(xy, score, DetectorHabits(cut=1.0), WindowRandom(64, seeded(5)))
    hidden = low < 1
    assert 0.1 < hidden.float().mean() < 0.8
    assert low[hidden].max() <= 0.5
    assert torch.equal(cut[..., 0], xy[..., 0])
    assert (cut[..., 1][hidden] <= xy[..., 1][hidden]).all()
    assert torch.equal(cut[..., 1][~hidden], xy[..., 1][~hidden])
    lowest_visible = torch.where(hidden, -torch.inf, xy[..., 1]).flatten(1).amax(dim=1)
    highest_guess = torch.where(hidden, cut[..., 1], torch.inf).flatten(1).amin(dim=1)
    assert (lowest_visible <= highest_guess + 1e-3).all()
