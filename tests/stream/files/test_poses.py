"""Files of recorded poses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream.camera_info import Extrinsics
from stream.errors import ConfigError
from stream.files import poses as pose_files
from stream.files.poses import PoseTable
from stream.messages import Contact
from stream.wire.codec import decode, encode
from tests.examples import meta, plain, pose, pose_frame

PLACEMENT = Extrinsics("world", "cam0_optical_frame", (0, 0, 1.5), (0, 0, 0, 1), "given")


def test_a_written_table_is_read_back(tmp_path):
    frames = [pose_frame(seq) for seq in range(3)]
    table = PoseTable()
    table.set_meta(meta())
    for frame in frames:
        table.add(frame)
    table.write(tmp_path / "walk.npz")
    read = list(pose_files.read(tmp_path / "walk.npz"))
    assert [plain(frame.persons) for frame in read] == [plain(frame.persons) for frame in frames]
    assert [path.name for path in tmp_path.iterdir()] == ["walk.npz"]


def test_contacts_and_the_newest_meta_of_each_source_are_stored(tmp_path):
    feet = [Contact(True, False), Contact(None, True), None]
    table = PoseTable()
    metas = [meta("cam1"), replace(meta(), extrinsics=PLACEMENT), meta()]
    for message in metas:
        table.set_meta(message)
    for seq, contact in enumerate(feet):
        table.add(pose_frame(seq, persons=(pose(contact=contact),), frame_id="world"))
    path = tmp_path / "walk.npz"
    table.write(path)
    frames = list(pose_files.read(path))
    assert [frame.persons[0].contact for frame in frames] == feet
    assert {frame.frame_id for frame in frames} == {"world"}
    with np.load(path) as file:
        assert [decode(text.encode()) for text in file["metas"].tolist()] == [metas[0], metas[2]]
        rest = {name: file[name] for name in file if name not in ("contact", "metas")}
    np.savez(path, **rest)  # a file written before contacts were recorded
    assert [frame.persons[0].contact for frame in pose_files.read(path)] == [None] * 3


@pytest.mark.parametrize("ending", [".npz", ".jsonl"])
def test_repaired_joints_are_recorded_per_person_and_frame(tmp_path, ending):
    repaired = [(), (0,), (0, 1)]
    frames = [
        pose_frame(seq, persons=(pose(repaired=joints), pose("b0000"))) for seq, joints in enumerate(repaired)
    ]
    path = tmp_path / f"walk{ending}"
    if ending == ".npz":
        table = PoseTable()
        for frame in frames:
            table.add(frame)
        table.write(path)
    else:
        path.write_bytes(b"".join(encode(frame, "json") + b"\n" for frame in frames))
    read = list(pose_files.read(path))
    assert [[person.repaired for person in frame.persons] for frame in read] == [
        [joints, ()] for joints in repaired
    ]


def test_a_file_without_repaired_joints_has_no_array_of_them(tmp_path):
    table = PoseTable()
    table.add(pose_frame())
    table.write(tmp_path / "walk.npz")
    with np.load(tmp_path / "walk.npz") as file:
        assert "repaired" not in file
    (frame,) = pose_files.read(tmp_path / "walk.npz")
    assert [person.repaired for person in frame.persons] == [()]


def test_captured_ns_counts_from_the_first_frame(tmp_path):
    path = tmp_path / "walk.jsonl"
    path.write_bytes(b"".join(encode(message, "json") + b"\n" for message in (meta(), pose_frame())))
    (frame,) = pose_files.read(path)
    assert (frame.header.captured_ns, frame.header.captured_unix_ns) == (
        0,
        pose_frame().header.captured_unix_ns,
    )


def test_an_incomplete_last_line_is_ignored_and_any_other_is_an_error(tmp_path):
    path = tmp_path / "walk.jsonl"
    lines = [encode(pose_frame(seq), "json") + b"\n" for seq in range(3)]
    path.write_bytes(b"".join(lines)[:-5])
    assert [frame.header.seq for frame in pose_files.read(path)] == [0, 1]
    path.write_bytes(lines[0] + lines[1][:-5] + b"\n" + lines[2])
    with pytest.raises(ConfigError, match="line 2: "):
        list(pose_files.read(path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"text"])
def test_a_broken_file_is_refused(tmp_path, content):
    (tmp_path / "walk.npz").write_bytes(content)
    with pytest.raises(ConfigError, match="expected the arrays of recorded poses"):
        list(pose_files.read(tmp_path / "walk.npz"))


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "walk.npz", source=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ConfigError, match="expected the arrays of recorded poses"):
        list(pose_files.read(tmp_path / "walk.npz"))


def test_a_missing_file_is_refused():
    with pytest.raises(ConfigError, match="expected a file of poses, but there is none"):
        pose_files.read(Path("nowhere.npz"))
