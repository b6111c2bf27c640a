"""Disturbances do to keypoints what they are called after, as much as asked, and nothing else."""

import numpy as np
import pytest
import torch

from lifter.evaluation import disturbances as disturb
from lifter.synthesis.test_clips import SyntheticClip as Take

LENGTH, SIZE_WH = 50, (640, 480)
RIGHT = np.array((3.0, 0.0), np.float32)
NOWHERE = (np.zeros(9, np.float32), np.zeros((LENGTH, 3), np.float32))


@pytest.fixture
def take() -> Take:
    """Joints that move along straight lines; the detector is 3 px off to the right and lacks joint 5."""
    time = np.arange(LENGTH, dtype=np.float32)[:, None, None]
    random = np.random.default_rng(1)
    clean = random.uniform(100, 300, (1, 17, 2)) + time * random.uniform(-1, 1, (1, 17, 2))
    truth = random.normal(0, 0.3, (1, 17, 3)) + 0.01 * time * random.normal(0, 1, (1, 17, 3))
    truth[:, 0] = 0.0
    keypoints = np.concatenate([clean + RIGHT, np.full((LENGTH, 17, 1), 0.9)], axis=-1)
    keypoints[:, 5, 2] = 0.0
    floats = (array.astype(np.float32) for array in (clean, keypoints, truth))
    return Take("cmu_amc", *floats, np.full(LENGTH, 200, np.float32), SIZE_WH, 50.0, *NOWHERE)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_share_that_is_asked_for_is_missing(take: Take) -> None:
    long = np.repeat(take.exact(), 20, axis=0)
    lost = disturb.missing(long, 0.3, generator())
    assert (lost[..., 2] == 0).mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(lost[..., :2], long[..., :2])
    np.testing.assert_array_equal(disturb.missing(long, 0.0, generator()), long)


def test_outliers_lie_elsewhere_with_a_score_of_one(take: Take) -> None:
    wrong = disturb.outliers(take, 0.2, generator())
    away_px = np.linalg.norm(wrong[..., :2] - take.clean, axis=-1)
    assert (away_px > 0).mean() == pytest.approx(0.2, abs=0.05)
    # 0.3 m at 200 px a metre in x and in y
    assert np.sqrt(np.square(away_px[away_px > 0]).mean()) == pytest.approx(60 * np.sqrt(2), rel=0.2)
    assert (wrong[..., 2] == 1).all()
    np.testing.assert_array_equal(disturb.outliers(take, 0.0, generator()), take.exact())


def test_errors_of_place_are_scaled_and_scores_are_kept(take: Take) -> None:
    np.testing.assert_allclose(disturb.noisy(take, 0)[..., :2], take.clean, atol=1e-4)
    np.testing.assert_allclose(disturb.noisy(take, 3)[..., 0], take.clean[..., 0] + 9, atol=1e-3)
    np.testing.assert_array_equal(disturb.noisy(take, 3)[..., 2], take.keypoints[..., 2])


def test_half_a_body_is_never_seen(take: Take) -> None:
    lost = disturb.hidden(take.exact(), disturb.LOWER_BODY)
    assert np.flatnonzero((lost[..., 2] == 0).all(axis=0)).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert (take.exact()[..., 2] == 1).all()


@pytest.mark.parametrize("factor", [0.5, 0.6, 1.0, 1.2])
def test_another_rate_shows_the_same_motion(take: Take, factor: float) -> None:
    keypoints, truth = disturb.at_rate(take, factor)
    time = np.arange(len(truth)) / factor
    assert time[-1] <= LENGTH - 1 < time[-1] + 1 / factor + 1e-3
    line = take.truth[0] + time[:, None, None] * (take.truth[1] - take.truth[0])
    np.testing.assert_allclose(truth, line, atol=1e-5)
    path = take.clean[0] + time[:, None, None] * (take.clean[1] - take.clean[0])
    np.testing.assert_allclose(keypoints[..., :2], path + RIGHT, atol=1e-2)
    # and back on the frames it was filmed at
    again = disturb.resampled(keypoints, 1 / factor)
    np.testing.assert_allclose(again, take.keypoints[: len(again)], atol=1e-2)
    assert len(again) >= LENGTH - 2


def test_between_two_frames_the_lower_score_counts() -> None:
    keypoints = np.zeros((2, 17, 3), np.float32)
    keypoints[1, :, 2] = 1.0
    assert disturb.resampled(keypoints, 2.0)[:, 0, 2].tolist() == [0.0, 0.0, 1.0]


def test_a_turned_camera_turns_image_and_truth_alike(take: Take) -> None:
    keypoints, truth = disturb.rolled(take, 90)
    middle = np.array(SIZE_WH) / 2
    x, y = (take.keypoints[..., :2] - middle)[0, 4]
    np.testing.assert_allclose(keypoints[0, 4, :2] - middle, (-y, x), atol=1e-3)
    x, y, z = take.truth[0, 4]
    np.testing.assert_allclose(truth[0, 4], (-y, x, z), atol=1e-6)
    np.testing.assert_array_equal(keypoints[..., 2], take.keypoints[..., 2])


def test_a_mirror_exchanges_left_and_right(take: Take) -> None:
    turned = disturb.mirrored(take.keypoints, SIZE_WH[0])
    np.testing.assert_allclose(turned[:, 4, 0], 640 - take.keypoints[:, 1, 0])
    np.testing.assert_allclose(turned[:, 4, 1:], take.keypoints[:, 1, 1:])
    np.testing.assert_allclose(disturb.mirrored(turned, SIZE_WH[0]), take.keypoints, atol=1e-4)


def test_who_stands_still_does_not_move_but_the_detector_may(take: Take) -> None:
    still = disturb.held(take, 120, errors=False)
    assert still.shape == (120, 17, 3)
    assert (still == take.exact()[25]).all()
    jittered = disturb.held(take, 120, errors=True)
    np.testing.assert_allclose(
        jittered[..., :2], np.broadcast_to(take.clean[25] + RIGHT, (120, 17, 2)), atol=1e-3
    )
    assert (jittered[:, 5, 2] == 0).all()
