"""Errors on test clips whose poses are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lifter.evaluation import clip_errors
from lifter.evaluation.clip_errors import errors_of_all_frames
from lifter.synthesis.synthetic_clips import SyntheticClip, synthetic_clips


def test_a_test_clip_is_always_the_same(folder: Path, clips: list[SyntheticClip]) -> None:
    second = list(synthetic_clips(folder / "motion.npz", every=2))
    assert len(clips) == 4
    np.testing.assert_array_equal(second[1].keypoints, clips[2].keypoints)
    assert [clip.rate_hz for clip in clips] == [50.0] * 4
    assert not np.array_equal(clips[0].keypoints[..., :2], clips[0].clean)


def test_exact_keypoints_at_true_depth_are_the_truth(clips: list[SyntheticClip]) -> None:
    exact = replace(clips[0], keypoints=clips[0].exact())
    np.testing.assert_allclose(clip_errors.at_true_depth(exact), exact.truth, atol=1e-6)
    shifted = replace(exact, keypoints=exact.keypoints.copy())
    shifted.keypoints[:, 13, 0] += 10.0
    distance = np.linalg.norm(clip_errors.at_true_depth(shifted) - exact.truth, axis=-1)
    depth = exact.truth[:, 13, 2] + exact.root[:, 2]
    np.testing.assert_allclose(distance[:, 13], 10 * depth / (exact.metre_px * exact.root[:, 2]), rtol=1e-3)
    assert distance[:, :13].max() < 1e-6


def test_the_truth_has_no_error(clips: list[SyntheticClip]) -> None:
    errors = errors_of_all_frames(clips, lambda clip: clip.truth)
    assert errors.mean() == pytest.approx((0, 0), abs=1e-4)
    velocity, jitter, truth, *_ = errors.mean_steadiness(["clips"])
    assert velocity == pytest.approx(0, abs=1e-6)
    assert jitter == pytest.approx(truth)
    assert jitter > 0
    off = errors_of_all_frames(clips, lambda clip: clip.truth + np.float32(0.1))
    assert off.mean(["clips"])[0] == pytest.approx(100 * np.sqrt(3), rel=1e-4)
    assert np.isnan(off.mean(["others"])).all()


def test_errors_are_binned_by_the_share_of_the_image_height_that_a_person_spans(
    clips: list[SyntheticClip],
) -> None:
    clip = replace(clips[0], size_wh=(1000, 500), clean=clips[0].clean.copy())
    clip.clean[:] = 100.0
    for frame, height_px in enumerate((50, 100, 150, 200, 300)):  # shares 0.1, 0.2, 0.3, 0.4, 0.6; then 0
        clip.clean[frame, 3, 1] += height_px
    poses = clip.truth.copy()
    poses[3:5] += np.float32([0.1, 0, 0])
    parts = clip_errors.errors_by_size([clip], errors_of_all_frames([clip], lambda _: poses), (0.2, 0.4))
    assert [count for _, count in parts] == [1 + 85, 2, 2]
    assert [error for error, _ in parts] == pytest.approx([0, 0, 100], abs=1e-3)


def test_errors_by_motion_cover_all_frames_of_all_clips(clips: list[SyntheticClip]) -> None:
    errors = errors_of_all_frames(clips, lambda clip: clip.truth + np.float32([0.05, 0, 0]))
    thirds = clip_errors.errors_by_motion(clips, errors)
    assert [third.frames for third in thirds] == [120] * 6
    assert [third.mpjpe for third in thirds] == pytest.approx([50] * 6, rel=1e-4)


def test_detector_errors_are_measured_at_the_person(clips: list[SyntheticClip]) -> None:
    clip = clips[0]
    keypoints = clip.exact()
    keypoints[..., 0] += 0.02 * clip.metre_px[:, None]
    keypoints[:, 3] = (9e3, 9e3, 0.0)  # a missing joint has no position error
    off, missed = clip_errors.detector_errors([replace(clip, keypoints=keypoints)])
    assert off == pytest.approx(20.0, rel=1e-3)
    assert missed == pytest.approx(100 / 17)
