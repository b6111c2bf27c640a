"""Errors by the speed and the acceleration of the true motion."""

from pathlib import Path

import numpy as np
import pytest

from lifter import weights
from lifter.evaluation.motion_complexity import MotionErrors, acceleration_m_s2, speed_m_s
from lifter.evaluation.score import ScoreSettings, score
from lifter.spec import LifterSpec
from lifter.training.dry_run import WRITERS
from stream.cli.main import main


def moving(x_m: np.ndarray) -> np.ndarray:
    """Poses (L, 2, 3) whose two joints lie at x_m (L,) along x."""
    poses = np.zeros((len(x_m), 2, 3))
    poses[..., 0] = x_m[:, None]
    return poses


@pytest.mark.parametrize("rate_hz", [10.0, 25.0, 50.0, 60.0])
def test_a_steady_motion_has_its_speed_and_no_acceleration(rate_hz: float) -> None:
    truth = moving(3.0 * np.arange(40) / rate_hz)
    np.testing.assert_allclose(speed_m_s(truth, rate_hz), 3.0)
    np.testing.assert_allclose(acceleration_m_s2(truth, rate_hz), 0.0, atol=1e-9)


@pytest.mark.parametrize("rate_hz", [25.0, 50.0])
def test_a_falling_body_has_the_acceleration_of_gravity(rate_hz: float) -> None:
    time_s = np.arange(40) / rate_hz
    truth = moving(9.81 / 2 * time_s**2)
    np.testing.assert_allclose(acceleration_m_s2(truth, rate_hz), 9.81)
    np.testing.assert_allclose(speed_m_s(truth, rate_hz)[5:-5], 9.81 * time_s[5:-5])


def test_speed_and_acceleration_are_means_over_the_joints() -> None:
    truth = moving(np.arange(20) / 50)
    truth[:, 1] = 0
    np.testing.assert_allclose(speed_m_s(truth, 50), 0.5)


def test_a_video_of_one_frame_stands_still() -> None:
    assert speed_m_s(moving(np.zeros(1)), 50).tolist() == [0.0]
    assert acceleration_m_s2(moving(np.zeros(1)), 50).tolist() == [0.0]


def test_errors_are_averaged_in_thirds_of_the_frames_by_speed() -> None:
    motion = MotionErrors()
    for speed, error_mm in ((0.1, 10), (1.0, 20), (2.0, 60)):
        truth = np.random.default_rng(0).normal(size=(1, 17, 3)) + np.zeros((30, 1, 1))
        truth[..., 0] += speed * np.arange(30)[:, None] / 50
        frames = np.arange(5, 25)
        motion.add(truth, 50.0, truth[frames] + [error_mm / 1000, 0, 0], frames)
    by_speed = motion.thirds()[:3]
    names = ["speed below 0.70 m/s", "speed 0.70 to 1.33 m/s", "speed above 1.33 m/s"]
    assert [(third.name, third.frames) for third in by_speed] == [(name, 20) for name in names]
    assert [third.mpjpe for third in by_speed] == pytest.approx([10, 20, 60])
    assert [third.p_mpjpe for third in by_speed] == pytest.approx([0, 0, 0], abs=1e-6)


def test_only_the_motion_around_the_lifted_frames_counts() -> None:
    """A video that stands still for two seconds and then moves at 2 m/s."""
    truth = moving(np.concatenate([np.zeros(100), 2.0 * np.arange(100) / 50]))
    motion, frames = MotionErrors(), np.arange(150, 180)
    motion.add(truth, 50.0, truth[frames], frames)
    assert [third.name for third in motion.thirds()][::5] == [
        "speed below 2.00 m/s", "acceleration above 0.00 m/s2"
    ]  # fmt: skip


def test_without_frames_there_are_no_thirds() -> None:
    assert MotionErrors().thirds() == []


@pytest.fixture
def own_videos(tmp_path: Path) -> Path:
    """Labelled videos in the documented layout, the second with joints and frames without a truth."""
    WRITERS["motion"](tmp_path, {"file": "motion.npz"}, 10)
    spec = LifterSpec(name="tiny", frames=9, config={"width": 16, "depth": 1, "heads": 2})
    weights.save(tmp_path / "tiny.safetensors", weights.build(spec), spec)
    random, arrays = np.random.default_rng(1), {}
    for name, length in (("downtown_walk", 30), ("office_phone", 20)):
        truth = random.normal(0, 0.3, (length, 17, 3)).cumsum(axis=0) / 10
        arrays |= {
            f"{name}/keypoints": random.uniform(100, 900, (length, 17, 3)),
            f"{name}/truth": truth + np.array([0, 0, 5]),
            f"{name}/size_wh": np.array([1080, 1920]),
        }
    arrays["office_phone/fps"] = np.array(25)
    arrays["office_phone/joints"] = np.delete(np.arange(17), [0, 7, 9])
    arrays["office_phone/valid"] = np.arange(20) >= 5
    np.savez(tmp_path / "own.npz", **arrays)
    return tmp_path


def test_own_videos_have_a_row_each_and_thirds_over_all_frames(own_videos: Path) -> None:
    motion = MotionErrors()
    settings = ScoreSettings(device="cpu", rate_hz=50.0)
    rows = score(own_videos / "tiny.safetensors", own_videos / "own.npz", settings, motion).rows()
    assert list(rows) == ["downtown_walk", "office_phone", "mean of rows"]
    thirds = motion.thirds()
    assert [sum(third.frames for third in part) for part in (thirds[:3], thirds[3:])] == [45, 45]
    mean = sum(third.frames * third.mpjpe for third in thirds[:3]) / 45
    assert mean == pytest.approx(
        (30 * rows["downtown_walk"]["mpjpe"] + 15 * rows["office_phone"]["mpjpe"]) / 45
    )


def test_the_command_prints_the_thirds(own_videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "tiny.safetensors", "--data", "own.npz", "--by-motion", "--device", "cpu"]
    words[1], words[3] = str(own_videos / words[1]), str(own_videos / words[3])
    with pytest.raises(SystemExit) as ended:
        main(words)
    table, thirds = capsys.readouterr().out.split("\n\n")
    assert ended.value.code == 0
    assert table.splitlines()[1].startswith("downtown_walk")
    head, *lines = thirds.splitlines()
    assert head.split()[-3:] == ["frames", "mpjpe", "p_mpjpe"]
    assert [line.split()[0] for line in lines] == ["speed"] * 3 + ["acceleration"] * 3
