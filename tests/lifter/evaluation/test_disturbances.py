"""Each disturbance changes keypoints by the requested amount, and nothing else."""

import numpy as np
import pytest
import torch

from lifter.evaluation import disturbances as disturb
from lifter.joints import LOWER_BODY
from lifter.synthesis.synthetic_clips import SyntheticClip

LENGTH, SIZE_WH = 50, (640, 480)
SHIFT_PX = np.array((3.0, 0.0), np.float32)
CAMERA_AND_ROOT = (np.zeros(9, np.float32), np.zeros((LENGTH, 3), np.float32))


@pytest.fixture
def clip() -> SyntheticClip:
    """A clip of joints on straight lines; the detector is off by 3 px to the right and misses joint 5."""
    time = np.arange(LENGTH, dtype=np.float32)[:, None, None]
    random = np.random.default_rng(1)
    clean = random.uniform(100, 300, (1, 17, 2)) + time * random.uniform(-1, 1, (1, 17, 2))
    truth = random.normal(0, 0.3, (1, 17, 3)) + 0.01 * time * random.normal(0, 1, (1, 17, 3))
    truth[:, 0] = 0.0
    keypoints = np.concatenate([clean + SHIFT_PX, np.full((LENGTH, 17, 1), 0.9)], axis=-1)
    keypoints[:, 5, 2] = 0.0
    floats = (array.astype(np.float32) for array in (clean, keypoints, truth))
    return SyntheticClip(
        "cmu_amc", *floats, np.full(LENGTH, 200, np.float32), SIZE_WH, 50.0, *CAMERA_AND_ROOT
    )


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_requested_share_of_joints_is_missing(clip: SyntheticClip) -> None:
    long = np.repeat(clip.exact(), 20, axis=0)
    disturbed = disturb.drop_joints(long, 0.3, generator())
    assert (disturbed[..., 2] == 0).mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(disturbed[..., :2], long[..., :2])
    np.testing.assert_array_equal(disturb.drop_joints(long, 0.0, generator()), long)


def test_outliers_are_far_off_and_have_a_score_of_one(clip: SyntheticClip) -> None:
    disturbed = disturb.add_outliers(clip, 0.2, generator())
    shift_px = np.linalg.norm(disturbed[..., :2] - clip.clean, axis=-1)
    assert (shift_px > 0).mean() == pytest.approx(0.2, abs=0.05)
    # 0.3 m at 200 px a metre in x and in y
    assert np.sqrt(np.square(shift_px[shift_px > 0]).mean()) == pytest.approx(60 * np.sqrt(2), rel=0.2)
    assert (disturbed[..., 2] == 1).all()
    np.testing.assert_array_equal(disturb.add_outliers(clip, 0.0, generator()), clip.exact())


def test_position_errors_are_scaled_and_scores_are_kept(clip: SyntheticClip) -> None:
    np.testing.assert_allclose(disturb.scale_noise(clip, 0)[..., :2], clip.clean, atol=1e-4)
    np.testing.assert_allclose(disturb.scale_noise(clip, 3)[..., 0], clip.clean[..., 0] + 9, atol=1e-3)
    np.testing.assert_array_equal(disturb.scale_noise(clip, 3)[..., 2], clip.keypoints[..., 2])


def test_hidden_joints_are_missing_in_all_frames(clip: SyntheticClip) -> None:
    disturbed = disturb.hide_joints(clip.exact(), LOWER_BODY)
    assert np.flatnonzero((disturbed[..., 2] == 0).all(axis=0)).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert (clip.exact()[..., 2] == 1).all()


@pytest.mark.parametrize("factor", [0.5, 0.6, 1.0, 1.2])
def test_another_frame_rate_gives_the_same_motion(clip: SyntheticClip, factor: float) -> None:
    keypoints, truth = disturb.change_rate(clip, factor)
    time = np.arange(len(truth)) / factor
    assert time[-1] <= LENGTH - 1 < time[-1] + 1 / factor + 1e-3
    line = clip.truth[0] + time[:, None, None] * (clip.truth[1] - clip.truth[0])
    np.testing.assert_allclose(truth, line, atol=1e-5)
    path = clip.clean[0] + time[:, None, None] * (clip.clean[1] - clip.clean[0])
    np.testing.assert_allclose(keypoints[..., :2], path + SHIFT_PX, atol=1e-2)
    # Resampled to the first rate, the keypoints are those of the clip.
    resampled = disturb.resample(keypoints, 1 / factor)
    np.testing.assert_allclose(resampled, clip.keypoints[: len(resampled)], atol=1e-2)
    assert len(resampled) >= LENGTH - 2


def test_interpolated_keypoints_have_the_lower_score_of_both_frames() -> None:
    keypoints = np.zeros((2, 17, 3), np.float32)
    keypoints[1, :, 2] = 1.0
    assert disturb.resample(keypoints, 2.0)[:, 0, 2].tolist() == [0.0, 0.0, 1.0]


def test_a_rolled_camera_rotates_image_and_truth_alike(clip: SyntheticClip) -> None:
    keypoints, truth = disturb.roll_camera(clip, 90)
    middle = np.array(SIZE_WH) / 2
    x, y = (clip.keypoints[..., :2] - middle)[0, 4]
    np.testing.assert_allclose(keypoints[0, 4, :2] - middle, (-y, x), atol=1e-3)
    x, y, z = clip.truth[0, 4]
    np.testing.assert_allclose(truth[0, 4], (-y, x, z), atol=1e-6)
    np.testing.assert_array_equal(keypoints[..., 2], clip.keypoints[..., 2])


def test_a_mirror_exchanges_left_and_right(clip: SyntheticClip) -> None:
    mirrored = disturb.mirror_keypoints(clip.keypoints, SIZE_WH[0])
    np.testing.assert_allclose(mirrored[:, 4, 0], 640 - clip.keypoints[:, 1, 0])
    np.testing.assert_allclose(mirrored[:, 4, 1:], clip.keypoints[:, 1, 1:])
    np.testing.assert_allclose(disturb.mirror_keypoints(mirrored, SIZE_WH[0]), clip.keypoints, atol=1e-4)


def test_a_still_person_has_constant_keypoints_but_for_detector_errors(clip: SyntheticClip) -> None:
    still = disturb.stand_still(clip, 120, noisy=False)
    assert still.shape == (120, 17, 3)
    assert (still == clip.exact()[25]).all()
    jittered = disturb.stand_still(clip, 120, noisy=True)
    np.testing.assert_allclose(
        jittered[..., :2], np.broadcast_to(clip.clean[25] + SHIFT_PX, (120, 17, 2)), atol=1e-3
    )
    assert (jittered[:, 5, 2] == 0).all()
