"""Test clips are the same on every run."""

from pathlib import Path

import numpy as np

from lifter.synthesis.synthetic_clips import synthetic_clips, synthetic_sequences
from tests.lifter.mocap_clips import walking_clips


def test_a_clip_has_the_same_camera_and_keypoints_every_time(tmp_path: Path) -> None:
    walking_clips(tmp_path)
    clips = list(synthetic_clips(tmp_path / "clips.npz"))
    again = list(synthetic_clips(tmp_path / "clips.npz", every=2))
    assert (len(clips), len(again)) == (3, 2)
    for clip, same in zip(clips[::2], again, strict=True):
        assert (clip.source, clip.size_wh, clip.rate_hz) == (same.source, same.size_wh, same.rate_hz)
        np.testing.assert_array_equal(clip.keypoints, same.keypoints)
        np.testing.assert_array_equal(clip.truth, same.truth)


def test_another_draw_has_the_same_motion_with_other_cameras_and_detectors(tmp_path: Path) -> None:
    walking_clips(tmp_path)
    first, second, again = (next(synthetic_clips(tmp_path / "clips.npz", draw=draw)) for draw in (0, 1, 1))
    assert len(first.truth) == len(second.truth)
    assert not np.allclose(first.truth, second.truth, atol=0.01)
    np.testing.assert_array_equal(second.keypoints, again.keypoints)


def test_another_body_has_the_same_size(tmp_path: Path) -> None:
    walking_clips(tmp_path)
    own, child = (
        next(synthetic_clips(tmp_path / "clips.npz", body=body)) for body in ("their own", "a child's")
    )
    ratio = np.linalg.norm(child.truth[:, 10], axis=-1) / np.linalg.norm(own.truth[:, 10], axis=-1)
    assert (ratio > 1.05).all()  # a child of that size has a longer trunk and head


def test_clean_sequences_have_the_projections_of_the_true_joints(tmp_path: Path) -> None:
    walking_clips(tmp_path)
    clip = next(synthetic_clips(tmp_path / "clips.npz"))
    sequence = next(synthetic_sequences(tmp_path / "clips.npz", "clean"))
    np.testing.assert_array_equal(sequence.keypoints, clip.exact())
    assert (sequence.keypoints[..., 2] == 1).all()
    assert (sequence.row, sequence.rate_hz) == (clip.source, clip.rate_hz)
