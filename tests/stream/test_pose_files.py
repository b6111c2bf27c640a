from pathlib import Path

import numpy as np
import pytest

from stream import pose_files
from stream.errors import ConfigError
from stream.pose_files import Table
from stream.wire import encode
from tests.examples import meta, plain, pose_frame


def test_a_table_becomes_one_file_that_is_read_back_whole(tmp_path):
    frames = [pose_frame(seq) for seq in range(3)]
    table = Table()
    table.describe(meta())
    for frame in frames:
        table.add(frame)
    table.write(tmp_path / "walk.npz")
    read = list(pose_files.read(tmp_path / "walk.npz"))
    assert [plain(each.persons) for each in read] == [plain(each.persons) for each in frames]
    assert [path.name for path in tmp_path.iterdir()] == ["walk.npz"]


def test_captured_ns_counts_from_the_first_frame(tmp_path):
    path = tmp_path / "walk.jsonl"
    path.write_bytes(b"".join(encode(message, "json") + b"\n" for message in (meta(), pose_frame())))
    (frame,) = pose_files.read(path)
    assert (frame.header.captured_ns, frame.header.captured_unix_ns) == (
        0,
        pose_frame().header.captured_unix_ns,
    )


def test_half_a_last_line_is_left_out_and_any_other_is_an_error(tmp_path):
    path = tmp_path / "walk.jsonl"
    lines = [encode(pose_frame(seq), "json") + b"\n" for seq in range(3)]
    path.write_bytes(b"".join(lines)[:-5])
    assert [frame.header.seq for frame in pose_files.read(path)] == [0, 1]
    path.write_bytes(lines[0] + lines[1][:-5] + b"\n" + lines[2])
    with pytest.raises(ConfigError, match="line 2: "):
        list(pose_files.read(path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"text"])
def test_junk_is_no_recording(tmp_path, content):
    (tmp_path / "walk.npz").write_bytes(content)
    with pytest.raises(ConfigError, match="expected the arrays of recorded poses"):
        list(pose_files.read(tmp_path / "walk.npz"))


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "walk.npz", source=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ConfigError, match="expected the arrays of recorded poses"):
        list(pose_files.read(tmp_path / "walk.npz"))


def test_a_missing_file_is_said():
    with pytest.raises(ConfigError, match="expected a file of poses, but there is none"):
        pose_files.read(Path("nowhere.npz"))
