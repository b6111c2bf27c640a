"""Files of 2D keypoints: recordings and plain arrays."""

import json
from pathlib import Path

import numpy as np
import pytest

from stream.errors import ConfigError
from stream.files import keypoints as keypoint_files
from stream.files.keypoints import RecordingDefaults
from stream.messages import Header, KeypointFrame, Keypoints

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def person(value: float, id: str | None = None, missing: tuple[int, ...] = ()) -> Keypoints:
    xy = np.full((17, 2), value, np.float32)
    score = np.full(17, 0.5, np.float32)
    xy[list(missing)], score[list(missing)] = np.nan, 0
    return Keypoints(xy, score, id)


def frame(seq: int, *persons: Keypoints, source: str = "cam0") -> KeypointFrame:
    """A frame at 10 Hz as read from a file: captured_ns counts from the first frame."""
    at_ns = seq * SECOND // 10
    return KeypointFrame(Header(source, seq, at_ns, START + at_ns), (640, 480), "coco17", persons, at_ns)


FRAMES = [
    frame(0, person(1.25, "a3f9k", missing=(3, 4))),
    frame(1),
    frame(2, person(2.5, "a3f9k"), person(3.5)),
]


def plain(frames: list[KeypointFrame]) -> list:
    """All values of the frames, comparable with ==."""
    return [
        (f.header, f.size_wh, f.skeleton, f.detected_ns,
         [(p.id, np.nan_to_num(p.xy, nan=-1).tolist(), p.score.tolist()) for p in f.persons])
        for f in frames
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["walk.jsonl", "walk.npz"])
def test_written_frames_are_read_back(tmp_path, name):
    keypoint_files.write(tmp_path / name, FRAMES)
    assert plain(list(keypoint_files.read(tmp_path / name))) == plain(FRAMES)


def test_the_npz_has_the_documented_arrays(tmp_path):
    keypoint_files.write(tmp_path / "walk.npz", FRAMES)
    with np.load(tmp_path / "walk.npz", allow_pickle=False) as arrays:
        assert {name: (array.shape, array.dtype.kind) for name, array in arrays.items()} == {
            "keypoints": ((3, 2, 17, 3), "f"), "ids": ((3, 2), "U"), "time_ns": ((3,), "i"),
            "size_wh": ((2,), "i"), "skeleton": ((), "U"), "source": ((), "U"),
        }  # fmt: skip
        np.testing.assert_array_equal(
            arrays["keypoints"][0, 0, 2:4], [[1.25, 1.25, 0.5], [np.nan, np.nan, 0]]
        )
        np.testing.assert_array_equal(arrays["ids"], [["a3f9k", ""], ["", ""], ["a3f9k", ""]])
        np.testing.assert_array_equal(arrays["time_ns"], [START, START + SECOND // 10, START + SECOND // 5])


def test_the_lines_are_documents_as_sent_over_the_network(tmp_path):
    keypoint_files.write(tmp_path / "walk.jsonl", FRAMES)
    documents = [json.loads(line) for line in (tmp_path / "walk.jsonl").read_text().splitlines()]
    assert [(d["schema"], d["source"], d["seq"], d["t_capture_ns"]) for d in documents] == [
        ("keypoints2d", "cam0", 0, START),
        ("keypoints2d", "cam0", 1, START + SECOND // 10),
        ("keypoints2d", "cam0", 2, START + SECOND // 5),
    ]
    assert documents[0]["persons"][0]["kp"][3][:2] == [None, None]


def test_lines_of_several_cameras_keep_their_sources(tmp_path):
    keypoint_files.write(tmp_path / "two.jsonl", [frame(0, source="left"), frame(0, source="right")])
    assert [f.header.source for f in keypoint_files.read(tmp_path / "two.jsonl")] == ["left", "right"]


def test_a_recording_without_a_source_name_gets_the_default_one(tmp_path):
    keypoint_files.write(tmp_path / "walk.npz", [frame(0, person(1), source="")])
    (read,) = keypoint_files.read(tmp_path / "walk.npz", DEFAULTS)
    assert read.header.source == "mine"


def test_a_source_name_that_cannot_be_a_topic_is_refused(tmp_path):
    keypoint_files.write(tmp_path / "walk.npz", [frame(0, person(1), source="a/#")])
    with pytest.raises(ConfigError, match="source: expected a name without"):
        keypoint_files.read(tmp_path / "walk.npz")


def line(**changes: object) -> str:
    document = {"v": 1, "schema": "keypoints2d", "size_wh": [640, 480], "skeleton": "coco17",
                "persons": [{"kp": [[1, 2, 0.5]] * 17}]}  # fmt: skip
    return json.dumps(document | changes) + "\n"


def test_values_missing_from_a_line_are_taken_from_the_defaults(tmp_path):
    (tmp_path / "hand.jsonl").write_text(line() + "\n" + line())
    first, second = keypoint_files.read(tmp_path / "hand.jsonl", RecordingDefaults(fps=25, source="mine"))
    assert first.header == Header("mine", 0, 0, 0)
    assert second.header == Header("mine", 2, SECOND * 2 // 25, SECOND * 2 // 25)  # the third line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(t_capture_ns=1) + "{", "line 2: 1 bytes are not a valid message"),
        (line(t_capture_ns=1) + line(v=2), "line 2: message: expected v 1, got v 2"),
        (line(t_capture_ns=1, skeleton="coco18"), "line 1: skeleton: .* did you mean 'coco17'"),
        (
            line(t_capture_ns=1, skeleton="body25"),
            "line 1: keypoints: expected the 25 joints of body25, got 17",
        ),
        (line(t_capture_ns=1) * 2 + line(), "line 3: no t_capture_ns; set fps"),
    ],
)
def test_an_error_names_the_line(tmp_path, text, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"bad.jsonl, {message}"):
        list(keypoint_files.read(path))


# Plain arrays

DEFAULTS = RecordingDefaults(skeleton="coco17", fps=25, size_wh=(640, 480), source="mine")


def points(frames: int = 2, channels: int = 3) -> np.ndarray:
    array = np.full((frames, 17, channels), 0.5)
    array[..., :2] = np.arange(frames * 17 * 2).reshape(frames, 17, 2) + 1
    return array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_plain_array_is_read_with_the_defaults(tmp_path, dtype):
    np.save(tmp_path / "a.npy", points().astype(dtype))
    first, second = keypoint_files.read(tmp_path / "a.npy", DEFAULTS)
    assert first.header == Header("mine", 0, 0, 0)
    assert second.header == Header("mine", 1, SECOND // 25, SECOND // 25)
    assert (first.size_wh, first.skeleton, [p.id for p in first.persons]) == ((640, 480), "coco17", [None])
    np.testing.assert_array_equal(second.persons[0].xy, points()[1, :, :2])
    np.testing.assert_array_equal(second.persons[0].score, np.full(17, 0.5))


def test_joints_of_an_array_without_scores_have_score_1(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=points(channels=2))
    (first, _) = keypoint_files.read(tmp_path / "a.npz", DEFAULTS)
    np.testing.assert_array_equal(first.persons[0].score, np.ones(17))


def test_an_array_may_hold_several_persons(tmp_path):
    both = np.stack([points(), points() + 100], axis=1)
    both[1, 1, :, 2] = 0  # the second person is missing
    both[..., 2] = np.minimum(both[..., 2], 1)
    np.save(tmp_path / "a.npy", both)
    first, second = keypoint_files.read(tmp_path / "a.npy", DEFAULTS)
    assert (len(first.persons), len(second.persons)) == (2, 1)
    np.testing.assert_array_equal(first.persons[1].xy, points()[0, :, :2] + 100)


@pytest.mark.parametrize(
    "missing", [(0, 0, 0.9), (5, 5, 0), (np.nan, 5, 0.9), (5, 5, np.nan), (np.inf, 5, 1)]
)
def test_every_notation_of_a_missing_joint_is_understood(tmp_path, missing):
    array = points()
    array[0, 5] = missing
    np.save(tmp_path / "a.npy", array)
    first, _ = keypoint_files.read(tmp_path / "a.npy", DEFAULTS)
    assert np.flatnonzero(first.persons[0].score == 0).tolist() == [5]
    assert np.isnan(first.persons[0].xy[5]).all()


def bad_recording(path: Path, **changes: object) -> None:
    keypoint_files.write(path, FRAMES)
    with np.load(path) as arrays:
        remaining = {name: array for name, array in (dict(arrays) | changes).items() if array is not None}
    np.savez(path, **remaining)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": None}, "expected arrays keypoints, ids, .*; ids is missing"),
        ({"time_ns": np.zeros(2, int)}, r"time_ns: expected shape \(3,\) for 3 frames of coco17, got \(2,\)"),
        ({"time_ns": np.zeros(3)}, "time_ns: expected .* float64"),
        ({"keypoints": np.zeros((3, 2, 25, 3))}, r"keypoints: expected shape \(3, 2, 17, 3\)"),
        ({"keypoints": np.zeros((3, 17, 3))}, r"keypoints: expected \(N, P, J, 3\) float32"),
        ({"skeleton": np.array("coco")}, "skeleton: expected one of .* did you mean 'coco17'"),
        ({"size_wh": np.array([0, 480])}, "size_wh: expected a positive width and height"),
        ({"size_wh": np.array([640])}, "size_wh: expected a positive width and height"),
        ({"ids": np.zeros((3, 2))}, "ids: expected"),
    ],
)
def test_the_error_of_a_bad_recording_names_the_array(tmp_path, changes, message):
    bad_recording(tmp_path / "bad.npz", **changes)
    with pytest.raises(ConfigError, match=f"bad.npz: {message}"):
        keypoint_files.read(tmp_path / "bad.npz")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match="expected numpy arrays without Python objects"):
        keypoint_files.read(tmp_path / "a.npy", DEFAULTS)
    np.savez(tmp_path / "a.npz", positions_2d=np.array({"S1": 1}, dtype=object))
    with pytest.raises(ConfigError, match="expected numpy arrays without Python objects"):
        keypoint_files.read(tmp_path / "a.npz", DEFAULTS)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk", b"\x93NUMPY\x01\x00"])
def test_a_broken_file_is_a_config_error(tmp_path, content):
    for name in ("a.npz", "a.npy"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match="expected numpy arrays"):
            keypoint_files.read(tmp_path / name, DEFAULTS)


@pytest.mark.parametrize(
    ("array", "defaults", "message"),
    [
        (points(), RecordingDefaults(skeleton="coco17", fps=25), "set skeleton, fps and size_wh"),
        (points()[0], DEFAULTS, r"expected numbers of shape \(frames, joints, 2 or 3\)"),
        (points().astype(str), DEFAULTS, "expected numbers of shape"),
        (
            points()[:0],
            DEFAULTS,
            r"expected at least one frame with joints, got an array of shape \(0, 17, 3\)",
        ),
        (points()[:, :16], DEFAULTS, r"keypoints: expected shape \(2, 1, 17, 3\) for 2 frames of coco17"),
    ],
)
def test_a_plain_array_that_does_not_fit_is_refused(tmp_path, array, defaults, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ConfigError, match=message):
        keypoint_files.read(tmp_path / "a.npy", defaults)


def test_a_file_with_several_plain_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", left=points(), right=points())
    with pytest.raises(ConfigError, match="expected one array of keypoints, got left, right"):
        keypoint_files.read(tmp_path / "a.npz", DEFAULTS)


def test_a_missing_file_and_an_unknown_suffix_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected a file of keypoints, but there is none"):
        keypoint_files.read(tmp_path / "a.npz")
    (tmp_path / "a.csv").touch()
    with pytest.raises(ConfigError, match=r"expected a name ending in \.jsonl, \.npz or \.npy"):
        keypoint_files.read(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match=r"expected a name ending in \.jsonl or \.npz"):
        keypoint_files.write(tmp_path / "a.csv", FRAMES)


def test_an_npz_with_several_cameras_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected frames of one source"):
        keypoint_files.write(tmp_path / "a.npz", [frame(0, source="left"), frame(1, source="right")])
    with pytest.raises(ConfigError, match="expected frames of one source"):
        keypoint_files.write(tmp_path / "a.npz", [])
