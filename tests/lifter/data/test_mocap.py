"""Motion capture is read from both layouts and played at any speed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lifter.data.mocap import MocapClips, clip_weights, read_mocap
from lifter.training import dry_run as dry
from stream.errors import ConfigError
from tests.lifter.mocap_clips import walking_clips


@pytest.fixture
def walking(tmp_path: Path) -> MocapClips:
    return walking_clips(tmp_path)


def test_a_clip_played_at_its_own_speed_is_the_clip(walking: MocapClips) -> None:
    played = walking.play(torch.tensor([1]), torch.tensor([0.0]), torch.tensor([1.0]), 61)
    np.testing.assert_allclose(played[0, :, :17], dry.motion(61, seed=1), atol=1e-5)


def test_a_clip_is_played_backward_after_its_end(walking: MocapClips) -> None:
    played = walking.play(torch.tensor([0]), torch.tensor([0.0]), torch.tensor([1.0]), 100)
    torch.testing.assert_close(played[0, 60:], played[0, 19:59].flip(0), atol=1e-5, rtol=0)


def test_at_half_speed_every_second_frame_is_interpolated(walking: MocapClips) -> None:
    played = walking.play(torch.tensor([0]), torch.tensor([10.0]), torch.tensor([0.5]), 3)[0]
    torch.testing.assert_close(played[1], (played[0] + played[2]) / 2, atol=1e-6, rtol=0)


def test_the_packed_layout_gives_the_same_joints_as_clips(tmp_path: Path, walking: MocapClips) -> None:
    xyz = walking.xyz[:60].numpy()
    root = xyz[:, 0]
    rel = np.round((xyz - root[:, None]) * 1e4).astype(np.int16)
    np.savez(
        tmp_path / "packed.npz", root=root, rel=rel, start=np.array([0]), length=np.array([60]),
        source=np.array(["a"]), subject=np.array(["b"]), fps=np.float32(50),
    )  # fmt: skip
    packed = read_mocap(tmp_path / "packed.npz")
    torch.testing.assert_close(packed.xyz, walking.xyz[:60], atol=6e-5, rtol=0)


def test_sources_are_drawn_by_their_shares_and_subjects_by_the_root_of_their_frames() -> None:
    length = torch.tensor([100, 400, 100])
    source, subject = np.array(["cmu_a", "cmu_b", "gym"]), np.array(["1", "2", "3"])
    weight = clip_weights(source, subject, length, {"cmu": 0.6, "gym": 0.4})
    np.testing.assert_allclose(weight, [0.2, 0.4, 0.4])


def test_a_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    with pytest.raises(ConfigError, match="expected arrays clip/<name>"):
        read_mocap(tmp_path / "other.npz")
    np.savez(tmp_path / "short.npz", fps=np.float32(50), **{"clip/a": np.zeros((1, 17, 3))})
    with pytest.raises(ConfigError, match="clip/a: expected"):
        read_mocap(tmp_path / "short.npz")
