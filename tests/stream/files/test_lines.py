"""Lines of recordings are bounded, so that no file of one endless line fills the memory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.files import keypoints, poses, recorded_poses
from stream.files.lines import MAX_LINE_BYTES, read_lines


def test_lines_have_numbers_and_their_ends(tmp_path: Path):
    path = tmp_path / "three.jsonl"
    path.write_bytes(b"a\n\nlast")
    assert list(read_lines(path)) == [(1, b"a\n"), (2, b"\n"), (3, b"last")]


@pytest.mark.parametrize("read", [keypoints.read, poses.read])
def test_an_endless_line_is_refused(tmp_path: Path, read: Callable[[Path], object]):
    path = tmp_path / "endless.jsonl"
    path.write_bytes(b" " * (2 * MAX_LINE_BYTES))
    with pytest.raises(ConfigError, match="line 1: expected at most 1048576 bytes"):
        list(read(path))  # type: ignore[call-overload]
    assert not recorded_poses.holds_poses(path)
