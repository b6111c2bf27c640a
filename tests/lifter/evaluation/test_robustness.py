"""What is measured of a lifter: on lifters whose errors are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lifter import normalise
from lifter.evaluation import footage as real
from lifter.evaluation import robustness as exam
from lifter.evaluation.mean_pose import FACINGS, mean_poses
from lifter.evaluation.reader import Reader
from lifter.spec import LifterSpec
from lifter.synthesis.test_clips import Take, takes
from lifter.training.dry_run import WRITERS
from stream.errors import ConfigError

SPEC = LifterSpec(name="flat", frames=27, in_channels=3, normalise="person")


class Flat(nn.Module):
    """Answers with the input's own x and y as metres and the place in the window as depth."""

    def forward(self, x: Tensor) -> Tensor:
        depth = torch.arange(x.shape[1])[None, :, None, None] * torch.ones_like(x[..., :1])
        depth[:, :, 0] = 0.0
        return torch.cat([x[..., :2] - x[:, :, :1, :2], depth], dim=-1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("motion")
    WRITERS["motion"](path, {"file": "motion.npz"}, 90)
    return path


@pytest.fixture(scope="module")
def clips(folder: Path) -> list[Take]:
    return list(takes(folder / "motion.npz"))


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(Flat(), SPEC)


def test_a_take_is_always_the_same(folder: Path, clips: list[Take]) -> None:
    again = list(takes(folder / "motion.npz", every=2))
    assert len(clips) == 4
    np.testing.assert_array_equal(again[1].keypoints, clips[2].keypoints)
    assert [take.rate_hz for take in clips] == [50.0] * 4
    assert not np.array_equal(clips[0].keypoints[..., :2], clips[0].clean)


def test_a_frame_stands_where_it_is_asked_for_in_its_window(clips: list[Take], reader: Reader) -> None:
    keypoints, size_wh, frames = clips[0].exact(), clips[0].size_wh, np.array([5, 60])
    _, context = normalise.encode(torch.from_numpy(keypoints)[None], torch.tensor([size_wh]).float(), SPEC)
    assert context.reflection is not None
    for place, depth in (("centre", 13.0), ("newest", 26.0)):
        poses = reader.at(keypoints, size_wh, frames, place)  # type: ignore[arg-type]
        assert poses.shape == (2, 17, 3)
        size = np.linalg.norm(poses, axis=-1)[:, 1:].mean()
        assert size == pytest.approx(depth, rel=0.1), place


def test_no_frame_after_the_newest_says_anything_about_it(clips: list[Take], reader: Reader) -> None:
    before = clips[0].keypoints.copy()
    before[55:61, 13, 2] = 0.0  # a gap, to be filled in without what comes
    after = before.copy()
    after[61:, :, :2] += 50.0
    frames = np.array([60])
    newest = [reader.at(each, clips[0].size_wh, frames, "newest") for each in (before, after)]
    np.testing.assert_array_equal(*newest)
    centre = [reader.at(each, clips[0].size_wh, frames, "centre") for each in (before, after)]
    assert not np.array_equal(*centre)


def test_without_errors_keypoints_at_true_depth_are_the_truth(clips: list[Take]) -> None:
    seen = replace(clips[0], keypoints=clips[0].exact())
    np.testing.assert_allclose(exam.on_rays(seen), seen.truth, atol=1e-6)
    off = replace(seen, keypoints=seen.keypoints.copy())
    off.keypoints[:, 13, 0] += 10.0
    away = np.linalg.norm(exam.on_rays(off) - seen.truth, axis=-1)
    depth = seen.truth[:, 13, 2] + seen.root[:, 2]
    np.testing.assert_allclose(away[:, 13], 10 * depth / (seen.metre_px * seen.root[:, 2]), rtol=1e-3)
    assert away[:, :13].max() < 1e-6


def test_a_lifter_of_one_frame_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a lifter of sequences"):
        Reader(Flat(), LifterSpec(name="x", output="centre"))


def test_who_knows_the_truth_makes_no_error(clips: list[Take]) -> None:
    errors = exam.every_frame(clips, lambda take: take.truth)
    assert errors.mean() == pytest.approx((0, 0), abs=1e-4)
    velocity, jitter, truth, *_ = errors.mean_steadiness(["clips"])
    assert velocity == pytest.approx(0, abs=1e-6)
    assert jitter == pytest.approx(truth)
    assert jitter > 0
    off = exam.every_frame(clips, lambda take: take.truth + np.float32(0.1))
    assert off.mean(["clips"])[0] == pytest.approx(100 * np.sqrt(3), rel=1e-4)
    assert np.isnan(off.mean(["others"])).all()


def test_errors_are_sorted_by_how_large_people_are(clips: list[Take]) -> None:
    errors = exam.every_frame(clips, lambda take: take.truth)
    parts = exam.by_size(clips, errors, (0.2, 0.4))
    assert sum(count for _, count in parts) == 4 * 90
    assert len(parts) == 3


def test_a_curve_begins_without_the_disturbance(clips: list[Take], reader: Reader) -> None:
    missing, outliers, noise = exam.curves(clips[:1], reader, quick=True)
    exact = exam.every_frame(clips[:1], exam.exact(reader)).mean()
    assert missing.errors[0] == outliers.errors[0] == exact
    assert (missing.levels, outliers.levels, noise.levels) == ((0, 50), (0, 20), (0, 3))
    assert exam.curves(clips[:1], reader, quick=True) == [missing, outliers, noise]
    assert outliers.errors[1][1] > exact[1]


def test_rates_and_turns_leave_out_nothing(clips: list[Take], reader: Reader) -> None:
    seen = exam.every_frame(clips, exam.seen(reader)).mean()
    assert exam.rates(clips, reader, [1.0]) == [pytest.approx(seen, rel=1e-3)]
    assert exam.gridded(clips, reader, [1.0]) == [pytest.approx(seen, rel=1e-3)]
    assert exam.rolled(clips, reader, 0.0) == pytest.approx(seen, rel=1e-3)


def test_a_lifter_without_sides_mirrors_exactly(clips: list[Take], reader: Reader) -> None:
    assert exam.mirror_gap(clips, reader) == pytest.approx(0, abs=0.05)


def test_a_still_person_moves_as_much_as_the_lifter_makes_them(clips: list[Take], reader: Reader) -> None:
    # 16 of 17 joints step back by a metre per frame
    assert exam.unrest(clips, reader, errors=False) == pytest.approx(1000 * 16 / 17, rel=1e-3)


def test_mean_poses_are_of_a_size_and_face_where_they_should(folder: Path, clips: list[Take]) -> None:
    mean, facing = mean_poses(folder / "motion.npz")
    assert (mean.poses.shape, facing.poses.shape) == ((1, 17, 3), (FACINGS, 17, 3))
    hips = facing.poses[:, 4] - facing.poses[:, 1]
    angle = torch.atan2(hips[:, 2], hips[:, 0]).remainder(2 * torch.pi)
    wanted = torch.arange(FACINGS) * 2 * torch.pi / FACINGS
    assert torch.cos(angle - wanted).min() > 0.9
    errors = [exam.every_frame(clips, each.of).mean()[0] for each in (mean, facing)]
    assert errors[1] < 0.95 * errors[0]


def test_bones_that_keep_their_length_do_not_vary() -> None:
    still = np.random.default_rng(0).normal(0, 0.3, (1, 17, 3)).repeat(9, axis=0).astype(np.float32)
    assert real.bone_variation(still) == pytest.approx(0, abs=1e-4)
    growing = still * np.linspace(0.9, 1.1, 9, dtype=np.float32)[:, None, None]
    assert real.bone_variation(growing) == pytest.approx(100 * np.linspace(0.9, 1.1, 9).std(), rel=1e-3)


def test_sides_of_a_body_are_compared() -> None:
    poses = np.zeros((3, 17, 3), np.float32)
    poses[:, 2, 1] = poses[:, 5, 1] = 0.4  # thighs
    poses[:, 3, 1], poses[:, 6, 1] = 0.8, 0.88  # shins of 40 and 48 cm
    assert real.asymmetry(poses) == pytest.approx(20.0, rel=1e-4)


def test_the_detector_is_off_by_so_much_at_the_person(clips: list[Take]) -> None:
    clean, take = clips[0].clean, clips[0]
    keypoints = np.concatenate([clean, np.ones_like(clean[..., :1])], axis=-1)
    keypoints[..., 0] += 0.02 * take.metre_px[:, None]
    keypoints[:, 3] = (9e3, 9e3, 0.0)  # not seen, so it does not count
    off, missed = exam.detector_errors([replace(take, keypoints=keypoints)])
    assert off == pytest.approx(20.0, rel=1e-3)
    assert missed == pytest.approx(100 / 17)
