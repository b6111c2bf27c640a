"""Datasets are read as in the papers that use them, without running code from their pickles."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lifter import normalise
from lifter.data import safe_load as safe
from lifter.data.h36m import read_h36m
from lifter.data.mocap import read_mocap
from lifter.data.motionbert import read_motionbert
from lifter.data.mpi3dhp import read_mpi3dhp
from lifter.evaluation import score
from lifter.spec import LifterSpec
from lifter.training import dry_run as dry
from stream.errors import ConfigError


class _RunsCode:
    def __reduce__(self) -> tuple:
        return print, ("this must never run",)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_and_dictionaries_are_read(tmp_path: Path, protocol: int) -> None:
    data = {"a": np.arange(6.0).reshape(2, 3), "b": ["x", 1, np.float64(2.5)], "c": np.array(["p", "q"])}
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    read = safe.read_pickle(path)
    np.testing.assert_array_equal(read["a"], data["a"])
    assert read["b"] == ["x", 1, 2.5]
    assert read["c"].tolist() == ["p", "q"]


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "unsafe.pkl"
    path.write_bytes(pickle.dumps({"data": _RunsCode()}))
    with pytest.raises(ConfigError, match=r"it refers to builtins\.print"):
        safe.read_pickle(path)
    np.savez(tmp_path / "unsafe.npz", allow_pickle=True, data=np.array({"x": _RunsCode()}, dtype=object))
    with pytest.raises(ConfigError, match=r"it refers to builtins\.print"):
        safe.read_npz(tmp_path / "unsafe.npz")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps({"a": 1})[:-3]])
def test_a_damaged_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pkl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        safe.read_pickle(path)


def test_npz_files_with_plain_arrays_and_objects_are_read(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "x.npz", allow_pickle=True, a=np.arange(3), b=np.array({"k": np.ones(2)}, dtype=object)
    )
    read = safe.read_npz(tmp_path / "x.npz")
    assert read["a"].tolist() == [0, 1, 2]
    assert read["b"]["k"].tolist() == [1, 1]
    with pytest.raises(ConfigError, match="expected a file"):
        safe.read_npz(tmp_path / "missing.npz")


def test_human36m_poses_are_in_the_axes_of_each_camera(tmp_path: Path) -> None:
    dry.WRITERS["h36m"](tmp_path, {}, 12)
    videos = list(read_h36m(tmp_path, "test"))
    assert [video.row for video in videos] == ["Walking"] * 8  # 2 subjects, 4 cameras
    assert [video.size_wh for video in videos[:4]] == [(1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002)]
    world = dry.motion(12, 2)
    relative = world - world[:, :1]
    for video in videos[:4]:
        np.testing.assert_allclose(video.truth[:, 0], 0)
        np.testing.assert_allclose(
            np.linalg.norm(video.truth, axis=-1), np.linalg.norm(relative, axis=-1), atol=1e-5
        )
        # All four cameras are about level: the head is above the pelvis (y is down), the ankles below.
        assert (video.truth[:, 10, 1] < -0.6).all()
        assert (video.truth[:, 3, 1] > 0.6).all()
    # Cameras 0 and 3 face each other, so left and right in their images are exchanged.
    assert videos[0].truth[0, 14, 0] * videos[3].truth[0, 14, 0] < 0


def test_human36m_at_a_lower_rate_takes_every_nth_frame(tmp_path: Path) -> None:
    dry.WRITERS["h36m"](tmp_path, {}, 12)
    full, third = (next(read_h36m(tmp_path, "train", every=every)) for every in (1, 3))
    np.testing.assert_array_equal(third.keypoints, full.keypoints[::3])
    np.testing.assert_array_equal(third.truth, full.truth[::3])


def test_mpi3dhp_joints_are_in_the_order_of_human36m(tmp_path: Path) -> None:
    dry.WRITERS["mpi3dhp"](tmp_path, {}, 12)
    videos = list(read_mpi3dhp(tmp_path, "test"))
    assert [(video.row, video.size_wh) for video in videos] == [("TS1", (2048, 2048)), ("TS5", (1920, 1080))]
    pose = dry.motion(12, 1)
    np.testing.assert_allclose(videos[0].truth, pose - pose[:, :1], atol=1e-5)
    assert videos[0].valid is not None
    assert videos[0].valid.all()
    assert [video.row for video in read_mpi3dhp(tmp_path, "train")] == ["S1", "S1", "S2", "S2"]


def test_mpi3dhp_joints_are_found_by_their_names(tmp_path: Path) -> None:
    right_arm, left_arm = (
        [f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist")] for side in ("right", "left")
    )
    right_leg, left_leg = (
        [f"{side}_{joint}" for joint in ("hip", "knee", "ankle")] for side in ("right", "left")
    )
    names = ["head_top", "neck", *right_arm, *left_arm, *right_leg, *left_leg, "pelvis", "spine", "head"]
    expected = ["pelvis", *right_leg, *left_leg, "spine", "neck", "head", "head_top", *left_arm, *right_arm]
    xyz = np.zeros((9, 17, 3))
    xyz[..., 0] = 1000 * np.arange(17)  # every joint lies at its index
    video = {"data_2d": xyz[..., :2], "data_3d": xyz, "valid": np.ones(9)}
    np.savez(tmp_path / "data_test_3dhp.npz", allow_pickle=True, data=np.array({"TS1": video}, dtype=object))
    (read,) = read_mpi3dhp(tmp_path, "test")
    assert [names[int(x / 1000)] for x in read.keypoints[0, :, 0]] == expected
    assert [names[int(x) + 14] for x in read.truth[0, :, 0]] == expected


def test_motionberts_pickle_is_cut_into_videos(tmp_path: Path) -> None:
    dry.WRITERS["motionbert"](tmp_path, {"file": "x.pkl"}, 12)
    videos = list(read_motionbert(tmp_path / "x.pkl", "test"))
    assert [(video.row, video.size_wh, len(video.truth)) for video in videos] == [
        ("Directions", (1000, 1002), 12),
        ("WalkTogether", (1000, 1000), 12),
    ]
    # At 250 px per metre and 4 mm per px, network units times unit_m are metres.
    pose = dry.motion(24)[:12]
    assert videos[0].unit_m is not None
    np.testing.assert_allclose(
        videos[0].truth * videos[0].unit_m[:, None, None], pose - pose[:, :1], atol=1e-4
    )


def _write_clips(folder: Path) -> None:
    """The clips of the synthetic pickle: its two videos, in network units."""
    dry.WRITERS["motionbert"](folder, {"file": "x.pkl"}, 12)
    part = safe.read_pickle(folder / "x.pkl")["test"]
    (folder / "test").mkdir()
    for i, height in enumerate((1002, 1000)):
        rows = slice(12 * i, 12 * (i + 1))
        offset = np.array([1, height / 1000])
        xy, label = part["joint_2d"][rows] / 500 - offset, part["joint3d_image"][rows] / 500
        label[..., :2] -= offset
        clip = {"data_input": np.concatenate([xy, part["confidence"][rows]], -1), "data_label": label}
        (folder / "test" / f"{i:08d}.pkl").write_bytes(pickle.dumps(clip))


def test_motionberts_clips_have_the_same_data_as_its_pickle(tmp_path: Path) -> None:
    _write_clips(tmp_path)
    whole = list(read_motionbert(tmp_path / "x.pkl", "test"))
    clips = list(score.sequences(tmp_path))
    assert [(clip.row, len(clip.truth)) for clip in clips] == [("clips", 12)] * 2
    spec = LifterSpec(name="x", normalise="image", in_channels=3)
    for clip, video in zip(clips, whole, strict=True):
        np.testing.assert_allclose(clip.truth, video.truth, atol=1e-5)
        inputs = [
            normalise.encode(torch.from_numpy(data.keypoints[None]), torch.tensor([data.size_wh]), spec)[0]
            for data in (clip, video)
        ]
        torch.testing.assert_close(*inputs, atol=1e-5, rtol=0)
        assert clip.unit_m is not None
        bones = np.array(normalise.SIZE_BONES)
        metres = clip.unit_m[:, None, None] * clip.truth
        sizes = np.linalg.norm(metres[:, bones[:, 0]] - metres[:, bones[:, 1]], axis=-1).sum(axis=1)
        assert sizes.mean() == pytest.approx(3.25, abs=1e-4)


@pytest.mark.parametrize(
    ("clip", "complaint"),
    [
        (
            {"data_input": None, "data_label": np.zeros((9, 17, 3))},
            r"got \(0,\) and \(9, 17, 3\); clips without",
        ),
        ({"data_input": np.zeros((9, 16, 3)), "data_label": np.zeros((9, 16, 3))}, r"expected data_input"),
        ([1, 2], r"got \(0,\) and \(0,\)"),
        ({"data_input": _RunsCode()}, r"it refers to builtins\.print"),
    ],
)
def test_a_pickle_that_is_not_a_clip_is_refused(
    tmp_path: Path, clip: object, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(ConfigError, match="found none"):
        next(read_motionbert(tmp_path, "train"))
    (tmp_path / "train" / "00000000.pkl").write_bytes(pickle.dumps(clip))
    with pytest.raises(ConfigError, match=complaint):
        next(read_motionbert(tmp_path, "train"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no archive", "pickled"),
        (b"", "No data left"),
        (b"PK\x03\x04cut off", "not a zip file"),
    ],
)
def test_a_file_that_is_not_an_npz_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "motion.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"motion.npz: expected an .npz of numpy arrays .*{why}"):
        score.sequences(path)


def test_the_error_for_an_npz_names_the_missing_array(tmp_path: Path) -> None:
    path, clip = tmp_path / "motion.npz", {"clip/anna/walk": dry.motion(9, seed=0)}
    np.savez(path, **clip)
    with pytest.raises(ConfigError, match="but fps is not a file in the archive"):
        read_mocap(path)
    np.savez(path, fps=np.zeros(3), **clip)
    with pytest.raises(
        ConfigError, match=r"fps: expected one number of frames per second, 1 to 1000, got \["
    ):
        read_mocap(path)
    np.savez(path, **{"walk/truth": np.zeros((5, 17, 3), np.float32)})
    with pytest.raises(ConfigError, match="but walk/keypoints is not a file in the archive"):
        list(score.sequences(path))
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ConfigError, match="one array without a name"):
        read_mocap(path)


def test_two_test_videos_of_3dhp_are_of_another_camera(tmp_path: Path) -> None:
    video = {"data_2d": np.zeros((3, 17, 2)), "data_3d": np.zeros((3, 17, 3)), "valid": np.ones(3)}
    data = np.array({f"TS{number}": video for number in range(1, 7)}, dtype=object)
    np.savez(tmp_path / "data_test_3dhp.npz", allow_pickle=True, data=data)
    sizes = [video.size_wh for video in read_mpi3dhp(tmp_path, "test")]
    assert sizes == [(2048, 2048)] * 4 + [(1920, 1080)] * 2


def test_a_pickle_that_names_another_function_of_numpy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(np.fromfile))
    with pytest.raises(ConfigError, match=r"it refers to numpy\S*\.fromfile; the file is not loaded"):
        safe.read_pickle(tmp_path / "x.pkl")
