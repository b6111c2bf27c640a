"""Files that the page downloads, and the frames that are kept for them."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from sinks.browser import history as history_module
from sinks.browser.export import NothingToExport, export, rate_hz, with_rotations
from sinks.browser.history import History
from stream.messages import PoseFrame
from tests.rig_examples import dance, pose_frames
from tests.sinks.browser.walkers import frame, meta

UNIX_NS = 1_700_000_000_000_000_000


def frames(count: int, hz: float = 30.0, source: str = "cam0", persons: int = 1) -> list[PoseFrame]:
    made = []
    for n in range(count):
        one = frame(n / hz, persons, source)
        header = replace(one.header, seq=n, captured_unix_ns=UNIX_NS + round(n * 1e9 / hz))
        made.append(replace(one, header=header))
    return made


def seqs(found: tuple[list[PoseFrame], list]) -> list[int]:
    return [one.header.seq for one in found[0]]


def test_the_rate_is_that_of_the_frames():
    assert rate_hz(frames(20, 50.0)) == 50.0
    assert rate_hz(frames(20, 30.0) + frames(20, 30.0, "cam1")) == 30.0
    assert rate_hz(frames(1)) == 30.0


def test_several_people_make_an_archive_of_a_file_each():
    suffix, data = export("bvh", frames(60, persons=2), [meta()])
    assert suffix == ".zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["poses-p0.bvh", "poses-p1.bvh"]
        assert archive.read("poses-p0.bvh").startswith(b"HIERARCHY")


def test_one_person_makes_one_file():
    assert [export(format, frames(60), [meta()])[0] for format in ("npz", "bvh", "glb")] == [
        ".npz", ".bvh", ".glb",
    ]  # fmt: skip


def test_missing_rotations_are_computed_as_a_node_computes_them():
    complete = pose_frames(dance(0.5))
    bare = [
        replace(one, persons=tuple(replace(person, rotations=None) for person in one.persons))
        for one in complete
    ]
    for restored, original in zip(with_rotations(bare), complete, strict=True):
        assert restored.persons[0].rotations is not None
        assert original.persons[0].rotations is not None
        np.testing.assert_allclose(
            restored.persons[0].rotations.quat, original.persons[0].rotations.quat, atol=1e-6
        )


def test_an_export_without_poses_raises_an_error_with_the_reason():
    with pytest.raises(NothingToExport, match="no poses in this time"):
        export("npz", [], [])
    empty = [replace(one, persons=()) for one in frames(3)]
    with pytest.raises(NothingToExport, match="no person was complete enough for GLB"):
        export("glb", empty, [])


def test_the_last_30_seconds_are_kept():
    history = History(max_s=600.0)
    history.describe(meta())
    for one in frames(80, hz=2.0):
        history.add(one)
    assert seqs(history.between(0, 1e14, None)) == list(range(19, 80))
    assert history.between(0, 1e14, "cam0")[1] == [meta()]
    assert history.between(0, 1e14, "cam1") == ([], [])


def test_a_recording_keeps_more_up_to_a_limit():
    history = History(max_s=60.0)
    history.keep_from(UNIX_NS / 1e6)
    made = frames(200, hz=2.0)
    for one in made[:110]:
        history.add(one)
    assert seqs(history.between(0, 1e14, None)) == list(range(110))
    for one in made[110:]:
        history.add(one)
    assert len(history.between(0, 1e14, None)[0]) == 121
    history.keep_from(None)
    history.add(made[-1])
    assert len(history.between(0, 1e14, None)[0]) == 62


def test_crowds_are_kept_for_a_shorter_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history_module, "MAX_POSES", 30)
    history = History(max_s=60.0)
    for one in frames(20, hz=10.0, persons=3):
        history.add(one)
    assert seqs(history.between(0, 1e14, None)) == list(range(10, 20))


def test_an_interval_has_the_frames_captured_in_it():
    history = History(max_s=60.0)
    for one in frames(20, hz=10.0):
        history.add(one)
    start_ms = UNIX_NS / 1e6
    assert seqs(history.between(start_ms + 500, start_ms + 900, "cam0")) == [5, 6, 7, 8, 9]
