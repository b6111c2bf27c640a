"""Evaluation of D3DP with every way of aggregating its hypotheses, and of datasets' cameras."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lifter.architectures.d3dp_aggregate import Aggregate, project
from lifter.data import h36m
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.evaluate import SequenceLifter, evaluate
from lifter.spec import LifterSpec
from lifter.synthesis import synthetic_clips
from lifter.training import dry_run as dry
from lifter.weights import build
from stream.errors import ConfigError

SPEC = LifterSpec(
    name="many",
    arch="d3dp",
    frames=9,
    config={"width": 16, "depth": 1, "heads": 2, "hypotheses": 4, "steps": 1, "flip": False},
)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(SPEC)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledSequence]:
    folder = tmp_path_factory.mktemp("motion")
    dry.WRITERS["motion"](folder, {"file": "motion.npz"}, 20)
    return list(synthetic_clips.synthetic_sequences(folder / "motion.npz"))


def test_aggregates_that_use_the_truth_have_the_lowest_error(
    model: torch.nn.Module, videos: list[LabelledSequence]
) -> None:
    aggregates: tuple[Aggregate, ...] = ("mean", "jpma", "p-best", "j-best")
    error = {
        aggregate: evaluate(model, SPEC, videos, combination=aggregate).rows()["clips"]["mpjpe"]
        for aggregate in aggregates
    }
    assert len(set(error.values())) == 4
    assert error["j-best"] < min(error["p-best"], error["jpma"], error["mean"])


def test_mean_and_p_best_are_those_of_the_hypotheses(
    model: torch.nn.Module, videos: list[LabelledSequence]
) -> None:
    video = videos[0]
    size = torch.tensor([video.size_wh], dtype=torch.float32)
    keypoints = torch.from_numpy(video.keypoints[None, :9, :, :2])
    xy = keypoints / size[0, 0] * 2 - torch.tensor([1, size[0, 1] / size[0, 0]])
    with torch.inference_mode():
        poses = model.sample(xy)[0, -1]  # type: ignore[operator]
    poses = (poses - poses[:, :, :1]).numpy()
    part = LabelledSequence("part", video.keypoints[:9], video.truth[:9], video.size_wh)
    np.testing.assert_allclose(
        SequenceLifter(model, SPEC).lift(part, "seq2seq")[1], poses.mean(axis=0), atol=1e-5
    )
    nearest = np.linalg.norm(poses - part.truth, axis=-1).mean(axis=(1, 2)).argmin()
    best = SequenceLifter(model, SPEC, combination="p-best").lift(part, "seq2seq")[1]
    np.testing.assert_allclose(best, poses[nearest], atol=1e-5)


def test_virtual_cameras_project_the_truth_near_the_keypoints(
    model: torch.nn.Module, videos: list[LabelledSequence]
) -> None:
    for video in videos[:2]:
        assert video.camera is not None
        assert video.root is not None
        xyz = torch.from_numpy(video.truth + video.root[:, None])[None]
        screen = project(xyz, torch.from_numpy(video.camera)[None])[0].numpy()
        width, height = video.size_wh
        pixels = (screen + np.array([1, height / width])) * (width / 2)
        # Detector errors are smaller than half a person.
        assert np.median(np.linalg.norm(pixels - video.keypoints[..., :2], axis=-1)) < 0.1 * width


def test_jpma_without_a_camera_is_refused(model: torch.nn.Module, videos: list[LabelledSequence]) -> None:
    video = LabelledSequence("desk", videos[0].keypoints, videos[0].truth, videos[0].size_wh)
    with pytest.raises(ConfigError, match="needs the camera, which is not known of desk"):
        evaluate(model, SPEC, [video], combination="jpma")


def test_only_d3dp_has_hypotheses() -> None:
    spec = LifterSpec(name="one", frames=9, config={"width": 16, "depth": 1, "heads": 2})
    with pytest.raises(ConfigError, match="chooses among D3DP's hypotheses, and mixste has none"):
        SequenceLifter(build(spec), spec, combination="p-best")


def test_human36m_cameras_show_the_person_in_the_middle_of_the_image(tmp_path: Path) -> None:
    dry.WRITERS["h36m"](tmp_path, {}, 12)
    videos = list(h36m.read_h36m(tmp_path, "train")) + list(h36m.read_h36m(tmp_path, "test"))
    assert len(videos) == 7 * 4
    for video in videos:
        assert video.camera is not None
        assert video.root is not None
        xyz = torch.from_numpy(video.truth + video.root[:, None])[None]
        assert 3 < xyz[..., 2].mean() < 7  # metres
        screen = project(xyz, torch.from_numpy(video.camera)[None])[0]
        assert screen.abs().max() < 0.7  # of half the image's width
        assert video.camera[:2] == pytest.approx([2.29, 2.29], abs=0.01)


def test_a_live_score_takes_every_tenth_frame_and_the_last_of_a_short_video(
    model: torch.nn.Module, videos: list[LabelledSequence]
) -> None:
    lifter, video = SequenceLifter(model, SPEC), videos[0]
    assert lifter.lift(video, "live")[0].tolist() == [9, 19]
    short = LabelledSequence("short", video.keypoints[:6], video.truth[:6], video.size_wh)
    frames, poses = lifter.lift(short, "live")
    assert (frames.tolist(), poses.shape) == ([5], (1, 17, 3))
