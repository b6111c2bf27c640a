"""Recorded poses in one format become files of another."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sinks.jsonl import JSONL
from stream.errors import ConfigError
from stream.files import keypoints as keypoint_files
from stream.files import poses
from stream.files.keypoints import PACKAGED_RECORDING
from stream.files.recorded_poses import holds_poses, read_keypoints, read_messages
from stream.messages import Meta, ModelInfo, PoseFrame
from stream.protocols import ComponentContext, opened
from stream.runtime.convert import convert
from tests.rig_examples import dance, pose_frames

META = Meta("cam0", "s", "h36m17", (), (), (), (640, 480), "cam0_optical_frame", "m", ModelInfo())


def recorded(
    path: Path, rotations: bool = False, keypoints: bool = False, meta: bool = True
) -> list[PoseFrame]:
    """Two seconds of one person, written to a .jsonl file."""
    kp2d = np.stack([np.arange(17.0), np.arange(17.0) * 2, np.full(17, 0.5)], axis=1).astype(np.float32)
    frames = []
    for frame in pose_frames(dance(2), "a3f9k"):
        (person,) = frame.persons
        person = replace(
            person,
            rotations=person.rotations if rotations else None,
            kp2d=kp2d if keypoints else None,
        )
        frames.append(replace(frame, persons=(person,), published_unix_ns=frame.header.captured_unix_ns + 7))
    with opened(JSONL(JSONL.Settings(path=str(path)), ComponentContext("out"))) as sink:
        for message in [*([META] if meta else []), *frames]:
            sink.send(message)
    return frames


@pytest.mark.parametrize("suffix", [".jsonl", ".npz", ".mcap"])
def test_formats_of_poses_keep_everything(tmp_path: Path, suffix: str):
    recorded(tmp_path / "in.jsonl", rotations=True, keypoints=True)
    frames = list(poses.read(tmp_path / "in.jsonl"))  # the numbers of a document are rounded
    assert convert(tmp_path / "in.jsonl", tmp_path / f"out{suffix}") == 100
    meta, *copies = read_messages(tmp_path / f"out{suffix}")
    assert isinstance(meta, Meta)
    assert (meta.source, meta.size_wh) == ("cam0", (640, 480))
    for frame, copy in zip(frames, copies, strict=True):
        assert copy.header == frame.header
        assert copy.published_unix_ns == frame.published_unix_ns
        (person,), (copied,) = frame.persons, copy.persons
        for name in ("xyz", "score", "origin", "root", "kp2d"):
            np.testing.assert_array_equal(getattr(copied, name), getattr(person, name))
        np.testing.assert_array_equal(copied.rotations.quat, person.rotations.quat)
        np.testing.assert_array_equal(copied.rotations.rest, person.rotations.rest)


@pytest.mark.parametrize("suffix", [".bvh", ".glb", ".vrma", ".mcap"])
def test_rotations_are_computed_when_the_recording_has_none(tmp_path: Path, suffix: str):
    recorded(tmp_path / "without.jsonl")
    recorded(tmp_path / "with.jsonl", rotations=True)
    convert(tmp_path / "without.jsonl", tmp_path / f"without{suffix}")
    convert(tmp_path / "with.jsonl", tmp_path / f"with{suffix}")
    if suffix == ".mcap":
        *_, last = read_messages(tmp_path / "without.mcap")
        *_, expected = read_messages(tmp_path / "with.mcap")
        quats = last.persons[0].rotations.quat, expected.persons[0].rotations.quat
        np.testing.assert_allclose(*quats, atol=2e-3)
    elif suffix == ".bvh":
        assert (tmp_path / "without.bvh").read_bytes() == (tmp_path / "with.bvh").read_bytes()
    else:
        assert (tmp_path / f"without{suffix}").stat().st_size > 30_000


def test_settings_of_the_output_can_be_changed(tmp_path: Path):
    recorded(tmp_path / "in.jsonl")
    convert(tmp_path / "in.jsonl", tmp_path / "out.bvh", ["sink.fps=10"])
    assert "Frame Time: 0.10000000" in (tmp_path / "out.bvh").read_text()


def test_keypoints_are_no_poses(tmp_path: Path):
    assert not holds_poses(PACKAGED_RECORDING)
    with pytest.raises(ConfigError, match="expected the arrays of recorded poses"):
        convert(PACKAGED_RECORDING, tmp_path / "out.bvh")


@pytest.mark.parametrize("name", ["in.jsonl", "out.fbx", "nowhere/out.bvh"])
def test_outputs_that_cannot_be_written_raise(tmp_path: Path, name: str):
    recorded(tmp_path / "in.jsonl")
    with pytest.raises(ConfigError, match=r"overwritten|expected an output|does not exist"):
        convert(tmp_path / "in.jsonl", tmp_path / name)


def test_a_recording_without_poses_raises(tmp_path: Path):
    (tmp_path / "in.jsonl").write_bytes(b"")
    with pytest.raises(ConfigError, match="no poses in it"):
        convert(tmp_path / "in.jsonl", tmp_path / "out.npz")


@pytest.mark.parametrize("suffix", [".mcap", ".npz", ".bvh"])
def test_a_pose_with_other_joints_than_its_skeleton_is_refused_with_its_line(tmp_path: Path, suffix: str):
    source = tmp_path / "in.jsonl"
    recorded(source)
    lines = source.read_text().splitlines()
    lines[5] = lines[5].replace('"skeleton":"h36m17"', '"skeleton":"body25"')
    source.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        ConfigError, match=r"in.jsonl, line 6: person 'a3f9k': expected 25 joints of .*, got 17"
    ):
        convert(source, tmp_path / f"out{suffix}")


def test_arrays_of_poses_with_other_joints_than_their_skeleton_are_refused(tmp_path: Path):
    recorded(tmp_path / "in.jsonl")
    convert(tmp_path / "in.jsonl", tmp_path / "in.npz")
    with np.load(tmp_path / "in.npz") as file:
        arrays = dict(file) | {"skeleton": np.full(file["skeleton"].shape, "body25")}
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(ConfigError, match=r"person 'a3f9k': expected 25 joints of body25, got 17"):
        convert(tmp_path / "in.npz", tmp_path / "out.mcap")


@pytest.mark.parametrize("suffix", [".jsonl", ".npz", ".mcap"])
def test_keypoints_of_recorded_poses_are_read_back(tmp_path: Path, suffix: str):
    frames = recorded(tmp_path / "in.jsonl", keypoints=True)
    convert(tmp_path / "in.jsonl", tmp_path / f"out{suffix}")
    assert holds_poses(tmp_path / f"out{suffix}")
    read = list(read_keypoints(tmp_path / f"out{suffix}", None))
    assert [frame.header for frame in read] == [frame.header for frame in frames]
    assert (read[0].size_wh, read[0].skeleton, read[0].persons[0].id) == ((640, 480), "h36m17", "a3f9k")
    np.testing.assert_array_equal(read[0].persons[0].xy, frames[0].persons[0].kp2d[:, :2])


def test_poses_without_keypoints_or_size_cannot_be_lifted_again(tmp_path: Path):
    recorded(tmp_path / "poses.jsonl")
    with pytest.raises(ConfigError, match="poses without keypoints"):
        list(read_keypoints(tmp_path / "poses.jsonl", None))
    recorded(tmp_path / "no-meta.jsonl", keypoints=True, meta=False)
    with pytest.raises(ConfigError, match="set size_wh"):
        list(read_keypoints(tmp_path / "no-meta.jsonl", None))
    assert len(list(read_keypoints(tmp_path / "no-meta.jsonl", (640, 480)))) == 100


def test_a_file_of_keypoints_is_recognised(tmp_path: Path):
    keypoint_files.write(tmp_path / "walk.jsonl", keypoint_files.read(PACKAGED_RECORDING))
    assert not holds_poses(tmp_path / "walk.jsonl")
    assert not holds_poses(tmp_path / "missing.jsonl")
