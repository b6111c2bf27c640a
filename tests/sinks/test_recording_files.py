import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sinks.jsonl import JSONL
from sinks.npz import NPZ
from stream.clock import FakeClock
from stream.errors import ConfigError
from stream.files import poses as pose_files
from stream.messages import Header, Message
from stream.protocols import ComponentContext, opened
from tests.examples import UNIX_NS, f32, meta, plain, pose, pose_frame, status

CONTEXT = ComponentContext("record", clock=FakeClock())
FRAMES = [
    replace(frame, header=Header("cam0", seq, 40_000_000 * seq, UNIX_NS + 40_000_000 * seq))
    for seq, frame in enumerate(
        [
            pose_frame(),
            pose_frame(persons=()),
            pose_frame(
                persons=(pose("a"), pose("b", state="predicted", root=f32(1, 2, 3), root_status="metric"))
            ),
        ]
    )
]


def recorded(kind: type[JSONL] | type[NPZ], path: Path, messages: list[Message], **settings: float) -> Path:
    """Record the messages to `path`."""
    with opened(kind(kind.Settings(path=str(path), **settings), CONTEXT)) as sink:
        for message in messages:
            sink.send(message)
    return path


@pytest.mark.parametrize(("kind", "name"), [(JSONL, "walk.jsonl"), (NPZ, "walk.npz")])
def test_a_recording_reads_back_as_the_same_frames(tmp_path, kind, name):
    path = recorded(kind, tmp_path / name, [meta(), status(), *FRAMES, meta()])
    assert plain(tuple(pose_files.read(path))) == plain(tuple(FRAMES))
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_every_line_is_a_document_and_a_repeated_meta_is_written_once(tmp_path):
    path = recorded(JSONL, tmp_path / "walk.jsonl", [meta(), FRAMES[0], status(), meta(), FRAMES[1]])
    documents = [json.loads(line) for line in path.read_text().splitlines()]
    assert [document["schema"] for document in documents] == ["meta", "pose3d", "pose3d"]


def test_a_recording_has_the_time_of_publication(tmp_path):
    path = recorded(JSONL, tmp_path / "walk.jsonl", [pose_frame(published_unix_ns=0)])
    (document,) = map(json.loads, path.read_text().splitlines())
    assert (document["t_publish_ns"], document["lat_ms"]["post"]) == (UNIX_NS, 9.0)


def test_a_killed_program_loses_no_line(tmp_path):
    path = tmp_path / "walk.jsonl"
    script = f"""
import os, signal
from sinks.jsonl import JSONL
from stream.protocols import ComponentContext, opened
from tests.examples import pose_frame
with opened(JSONL(JSONL.Settings(path={str(path)!r}), ComponentContext("record"))) as sink:
    for seq in range(100):
        sink.send(pose_frame(seq))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == -9
    assert [frame.header.seq for frame in pose_files.read(path)] == list(range(100))


def test_arrays_have_the_documented_layout(tmp_path):
    with np.load(recorded(NPZ, tmp_path / "walk.npz", [meta(), *FRAMES])) as file:
        shapes = {name: (file[name].dtype.kind, file[name].shape) for name in file}
        values = {
            name: file[name].tolist() for name in ("frame", "id", "seq", "time_ns", "joints", "parents")
        }
    assert shapes == (
        dict.fromkeys(("source", "session", "mode", "skeleton", "frame_id"), ("U", (3,)))
        | dict.fromkeys(("model_name", "model_sha256"), ("U", (3,)))
        | dict.fromkeys(("seq", "time_ns", "published_ns", "lag", "hop", "dropped"), ("i", (3,)))
        | {"window": ("i", (3, 3)), "latency_ms": ("f", (3, 5))}
        | dict.fromkeys(("id", "state", "root_status"), ("U", (3,)))
        | {"frame": ("i", (3,)), "xyz": ("f", (3, 2, 3)), "score": ("f", (3, 2)), "origin": ("u", (3, 2))}
        | {"root": ("f", (3, 3)), "kp2d": ("f", (3, 2, 3)), "joints": ("U", (2,)), "parents": ("i", (2,))}
        | {"contact": ("i", (3, 2)), "metas": ("U", (1,))}
    )
    assert values == {
        "frame": [0, 2, 2],
        "id": ["a3f9k", "a", "b"],
        "seq": [0, 1, 2],
        "time_ns": [UNIX_NS, UNIX_NS + 40_000_000, UNIX_NS + 80_000_000],
        "joints": ["pelvis", "head"],
        "parents": [-1, 0],
    }


def test_a_long_recording_is_written_in_parts(tmp_path):
    frames = [pose_frame(seq) for seq in range(5)]
    recorded(NPZ, tmp_path / "walk.npz", [meta(), *frames], max_mb=0.005)
    parts = {path.name: [f.header.seq for f in pose_files.read(path)] for path in sorted(tmp_path.iterdir())}
    assert parts == {"walk.2.npz": [2, 3], "walk.3.npz": [4], "walk.npz": [0, 1]}
    with np.load(tmp_path / "walk.3.npz") as file:
        assert file["joints"].tolist() == ["pelvis", "head"]


def test_another_number_of_joints_starts_a_new_part(tmp_path):
    single = pose(xyz=f32([1, 2, 3]), score=f32(1), origin=np.array([1], np.uint8))
    recorded(NPZ, tmp_path / "walk.npz", [pose_frame(1), pose_frame(2, persons=(single,))])
    parts = {path.name: [f.header.seq for f in pose_files.read(path)] for path in sorted(tmp_path.iterdir())}
    assert parts == {"walk.2.npz": [2], "walk.npz": [1]}


def test_a_recorded_pose_is_a_copy(tmp_path):
    batch = np.ones((4, 2, 3), np.float32)
    frame = pose_frame(persons=(pose(xyz=batch[1], origin=np.array([1, 1], np.uint8)),))
    with opened(NPZ(NPZ.Settings(path=str(tmp_path / "walk.npz")), CONTEXT)) as sink:
        sink.send(frame)
        batch[:] = 7
    (read,) = pose_files.read(tmp_path / "walk.npz")
    assert read.persons[0].xyz.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = recorded(NPZ, tmp_path / "walk.npz", FRAMES)
    before = path.read_bytes()

    def disk_full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
        recorded(NPZ, path, [pose_frame()], overwrite=True)
    assert path.read_bytes() == before
    assert len(list(pose_files.read(tmp_path / "walk.npz.journal.jsonl"))) == 1


def test_the_journal_begins_with_the_meta_so_that_it_is_a_recording_of_its_own(tmp_path):
    path = tmp_path / "walk.npz"
    with opened(NPZ(NPZ.Settings(path=str(path)), CONTEXT)) as sink:
        for message in (meta(), *FRAMES):
            sink.send(message)
        lines = Path(f"{path}.journal.jsonl").read_text().splitlines()
        frames = plain(tuple(pose_files.read(Path(f"{path}.journal.jsonl"))))
    assert [json.loads(line)["schema"] for line in lines] == ["meta", "pose3d", "pose3d", "pose3d"]
    assert frames == plain(tuple(FRAMES))


@pytest.mark.parametrize("kind", [JSONL, NPZ])
def test_a_path_that_cannot_be_written_is_refused_when_opened(tmp_path, kind):
    path = tmp_path / f"walk.{kind.__name__.lower()}"
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        kind(kind.Settings(path=str(path)), CONTEXT).open()


@pytest.mark.parametrize("kind", [JSONL, NPZ])
def test_closing_is_harmless_before_opening_and_twice(tmp_path, kind):
    sink = kind(kind.Settings(path=str(tmp_path / f"walk.{kind.__name__.lower()}")), CONTEXT)
    sink.close()
    with opened(sink):
        sink.close()


@pytest.mark.parametrize(
    ("kind", "name", "close_timeout_s"), [(JSONL, "walk.jsonl", 1), (NPZ, "walk.npz", 60)]
)
def test_a_recording_names_its_file_and_how_long_closing_takes(tmp_path, kind, name, close_timeout_s):
    sink = kind(kind.Settings(path=str(tmp_path / name)), CONTEXT)
    assert (sink.endpoint, sink.close_timeout_s) == (str(tmp_path / name), close_timeout_s)


def test_the_file_name_can_contain_the_start_time(tmp_path):
    recorded(JSONL, tmp_path / "walk-{time}.jsonl", FRAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["walk-20231114T221320Z.jsonl"]


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        (JSONL, {"path": "walk.npz"}, r"path: expected a file ending in .jsonl, got 'walk.npz'"),
        (NPZ, {"path": "/nowhere/walk.npz"}, "the folder /nowhere does not exist"),
        (NPZ, {"max_mb": 0}, "npz max_mb: expected megabytes above 0, got 0"),
    ],
)
def test_wrong_settings_are_refused(kind, settings, text):
    with pytest.raises(ConfigError, match=text):
        kind(kind.Settings(**settings), CONTEXT)


def test_the_error_names_a_folder_of_the_same_name(tmp_path):
    (tmp_path / "walk.jsonl").mkdir()
    with pytest.raises(ConfigError, match="cannot be written: "):
        recorded(JSONL, tmp_path / "walk.jsonl", FRAMES)
