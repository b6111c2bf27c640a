"""Single frames and whole clips lifted with a network whose poses are known."""

import numpy as np
import pytest
import torch
from torch import nn

from lifter import normalise
from lifter.evaluation.offline_lifter import FramePlace, OfflineLifter
from lifter.spec import LifterSpec
from lifter.synthesis.synthetic_clips import SyntheticClip
from stream.errors import ConfigError


def test_a_single_frame_is_in_the_centre_of_its_window_or_the_newest(
    clips: list[SyntheticClip], lifter: OfflineLifter
) -> None:
    keypoints, size_wh, frames = clips[0].exact(), clips[0].size_wh, np.array([5, 60])
    _, context = normalise.encode(
        torch.from_numpy(keypoints)[None], torch.tensor([size_wh]).float(), lifter.spec
    )
    assert context.reflection is not None
    places: dict[FramePlace, float] = {"centre": 13.0, "newest": 26.0}
    for place, depth in places.items():
        poses = lifter.lift_frames(keypoints, size_wh, frames, place)
        assert poses.shape == (2, 17, 3)
        size = np.linalg.norm(poses, axis=-1)[:, 1:].mean()
        assert size == pytest.approx(depth, rel=0.1), place


def test_frames_after_the_newest_do_not_influence_it(
    clips: list[SyntheticClip], lifter: OfflineLifter
) -> None:
    before = clips[0].keypoints.copy()
    before[55:61, 13, 2] = 0.0  # a gap, filled in without the frames after it
    after = before.copy()
    after[61:, :, :2] += 50.0
    frames = np.array([60])
    newest = [
        lifter.lift_frames(keypoints, clips[0].size_wh, frames, "newest") for keypoints in (before, after)
    ]
    np.testing.assert_array_equal(*newest)
    centre = [
        lifter.lift_frames(keypoints, clips[0].size_wh, frames, "centre") for keypoints in (before, after)
    ]
    assert not np.array_equal(*centre)


def test_a_lifter_of_one_frame_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a lifter of sequences"):
        OfflineLifter(nn.Identity(), LifterSpec(name="x", output="centre"))
