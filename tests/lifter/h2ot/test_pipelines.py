"""Sequence or centre, flip average, and the windows that papers evaluate on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lifter.architectures.mixste import MixSTE
from lifter.h2ot.pipelines import FlipAverage, cut_windows, merge_windows, seq2frame, seq2seq, window_bounds
from lifter.spec import Schedule
from stream.errors import ConfigError

TINY = {"frames": 27, "width": 16, "depth": 3, "heads": 2}
CHUNKS = json.loads((Path(__file__).parents[1] / "oracle" / "chunks.json").read_text())


def model(pruner="tps", recoverer="tri", keep=(13, 9)):
    torch.manual_seed(0)
    return MixSTE(**TINY, schedule=Schedule(keep, (0, 2), pruner, recoverer)).eval()


@pytest.fixture
def x():
    return torch.rand(2, 27, 17, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("keep", [(13, 9), (14, 8), (2, 1)])
@pytest.mark.parametrize("pruner", ["tps", "tpc", "tpa", "tpmo"])
def test_seq2frame_returns_the_centre_frame_which_every_pruner_keeps(x, pruner, keep):
    centre = model(pruner, "centre", keep)
    with torch.inference_mode():
        poses = seq2frame(centre, x)
        centre.hourglass.skip_unneeded = False
        kept_poses, kept = model(pruner, "none", keep)(x), centre.encode(x)[1].expand(2, -1)
    assert poses.shape == (2, 1, 17, 3)
    assert kept.shape == (2, keep[1])
    torch.testing.assert_close(poses[:, 0], kept_poses[kept == 13], atol=1e-6, rtol=0)


def test_seq2frame_of_a_seq2seq_model_is_its_centre_frame(x):
    with torch.inference_mode():
        torch.testing.assert_close(seq2frame(model(), x), seq2seq(model(), x)[:, 13:14])


def test_pipelines_reject_models_with_another_number_of_poses(x):
    with pytest.raises(ConfigError, match="all 27 frames, the model gives 9"):
        seq2seq(model(recoverer="none"), x)
    with pytest.raises(ConfigError, match="recoverer 'centre'"):
        seq2frame(model(recoverer="none"), x)


def test_the_flip_average_of_a_mirrored_input_is_the_mirrored_pose(x):
    average = FlipAverage(model())
    with torch.inference_mode():
        poses, mirrored = average(x), average(average.mirror(x))
    torch.testing.assert_close(poses, average.mirror(mirrored), atol=1e-6, rtol=0)
    swapped = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
    torch.testing.assert_close(
        poses, mirrored[:, :, swapped] * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("length", CHUNKS)
def test_windows_equal_those_of_the_released_evaluations(length):
    expected, length = CHUNKS[length], int(length)
    assert window_bounds(length, 243, "centred").tolist() == expected["hot_stride243"]
    assert window_bounds(length, 243, "last").tolist() == expected["mixste_original_eval"]
    every = window_bounds(length, 243, "every")
    assert len(every) == expected["n_stride1"]
    assert every[[0, -1]].tolist() == expected["stride1_first_last"]
    inside = [[max(start, 0), min(end, length) - 1] for start, end in window_bounds(length, 243, "centred")]
    assert inside == expected["source_frames"]


def test_windows_repeat_the_ends_of_a_video():
    video = np.arange(4) * 10
    assert cut_windows(video, window_bounds(4, 3, "centred")).tolist() == [[0, 0, 10], [20, 30, 30]]
    assert cut_windows(video, window_bounds(4, 3, "last")).tolist() == [[0, 10, 20], [10, 20, 30]]
    assert cut_windows(video, window_bounds(4, 3, "every")).tolist() == [
        [0, 0, 10],
        [0, 10, 20],
        [10, 20, 30],
        [20, 30, 30],
    ]
    assert cut_windows(video[:2], window_bounds(2, 3, "last")).tolist() == [[0, 10, 10]]


@pytest.mark.parametrize("placement", ["centred", "last", "every"])
@pytest.mark.parametrize("length", [1, 5, 9, 10, 27, 31])
def test_merging_the_windows_of_a_video_gives_the_video(length, placement):
    video, bounds = np.random.default_rng(0).normal(size=(length, 17, 3)), window_bounds(length, 9, placement)
    poses = cut_windows(video, bounds)
    assert (merge_windows(poses, bounds, length) == video).all()
    if placement == "every":
        assert (merge_windows(poses[:, 4:5], bounds, length) == video).all()


def test_where_two_windows_overlap_the_later_one_counts():
    windows = np.array([[0, 1, 2], [10, 11, 12]])
    assert merge_windows(windows, window_bounds(5, 3, "last"), 5).tolist() == [0, 1, 10, 11, 12]


def test_windows_reject_empty_videos_and_unknown_placements():
    with pytest.raises(ConfigError, match="at least one frame"):
        window_bounds(0, 243, "centred")
    with pytest.raises(ConfigError, match="centred, last or every, got 'first'"):
        window_bounds(10, 243, "first")
