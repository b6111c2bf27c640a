"""Figures 8 and 9: frames of a video with keypoints and poses."""

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.paper.in_the_wild import draw_in_the_wild, evenly_spaced, least_certain, lift_frames
from lifter.samples import open_lifter, recording_as_window
from lifter.spec import LifterSpec, Schedule
from stream.errors import ConfigError
from stream.files.keypoints import PACKAGED_RECORDING

SPEC = LifterSpec(
    name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), config={"width": 16, "depth": 2, "heads": 2}
)


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(0)
    weights.save(tmp_path / "tiny.safetensors", weights.build(SPEC), SPEC)
    return tmp_path / "tiny.safetensors"


def test_the_frames_of_figure_8_are_spread_evenly():
    assert evenly_spaced(np.zeros((101, 17, 3)), 3) == [25, 50, 75]


def test_the_frames_of_figure_9_are_the_least_certain_of_each_part():
    keypoints = np.ones((30, 17, 3), np.float32)
    keypoints[[4, 15, 22], :, 2] = 0.2
    keypoints[5, :, 2] = 0.5
    assert least_certain(keypoints, 3) == [4, 15, 22]


def test_a_frame_is_lifted_in_the_centre_of_its_window(tiny):
    runner = open_lifter(tiny)
    recording = recording_as_window(PACKAGED_RECORDING, "h36m17")
    poses = lift_frames(runner, recording, [0, 50])
    start = 50 - 27 // 2
    keypoints = torch.from_numpy(recording.keypoints[start : start + 27])[None]
    expected = runner.compute(keypoints, torch.tensor([recording.size_wh]).float())[0, 13]
    np.testing.assert_allclose(poses[1], expected.detach().numpy(), atol=1e-5)
    assert poses.shape == (2, 17, 3)


@pytest.mark.parametrize("failures", [False, True])
def test_images_are_read_for_the_frames_that_are_drawn(tiny, tmp_path, failures):
    read = []

    def images(frames):
        read.extend(frames)
        return [np.full((480, 640, 3), 200, np.uint8) for _ in frames]

    path = draw_in_the_wild(PACKAGED_RECORDING, images, tmp_path / "wild.png", tiny, 4, failures)
    assert path.stat().st_size > 5000
    assert len(read) == 4
    assert read == sorted(read)


@pytest.mark.parametrize("columns", [0, 13])
def test_a_number_of_columns_that_does_not_fit_is_refused(tiny, tmp_path, columns):
    with pytest.raises(ConfigError, match=f"columns: expected 1 to 12, got {columns}"):
        draw_in_the_wild(PACKAGED_RECORDING, lambda frames: [], tmp_path / "wild.png", tiny, columns)
