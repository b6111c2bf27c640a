"""The simulated detector gives keypoints near the truth, with scores that know their errors."""

from pathlib import Path

import pytest

from lifter.data.mocap import MocapClips
from lifter.synthesis.detector_habits import DetectorHabits
from lifter.synthesis.detector_noise import simulate_detector
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


def test_exchanges_low_joints_wobbling_knees_and_ghosts_change_the_keypoints(walking: MocapClips) -> None:
    view = random_views(random_windows(walking, 64), seeded(4))
    plain = simulate_detector(view, seeded(5))
    for habits in (
        DetectorHabits(exchanges=1.0),
        DetectorHabits(low_joints=1.0),
        DetectorHabits(knee_wobble_m=0.03),
        DetectorHabits(ghosts=1.0),
    ):
        keypoints = simulate_detector(view, seeded(5), habits)
        assert keypoints.isfinite().all()
        assert not keypoints.equal(plain)
