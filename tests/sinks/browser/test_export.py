"""Files that the page downloads, and the frames that are kept for them."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from sinks.browser import history as history_module
from sinks.browser.export import FORMATS, NothingToExport, export, rate_hz
from sinks.browser.history import History
from stream.files.mcap import META, POSES
from stream.messages import PoseFrame
from stream.postprocess.joint_rotations import RIG_INFO
from stream.wire.codec import decode
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
    assert [export(format, frames(60), [meta()])[0] for format in FORMATS] == [
        ".npz", ".bvh", ".glb", ".mcap",
    ]  # fmt: skip


def test_an_mcap_file_has_documents_and_ros_messages_for_the_official_reader_metas_first():
    sent = [replace(one, published_unix_ns=one.header.captured_unix_ns + 40_000_000) for one in frames(60)]
    suffix, data = export("mcap", sent, [meta(world=True)])
    assert suffix == ".mcap"
    reader = make_reader(io.BytesIO(data), decoder_factories=[DecoderFactory()])
    logged = [
        (channel.topic, message.log_time, message.data) for _, channel, message in reader.iter_messages()
    ]
    documents = [decode(data) for topic, _, data in logged if topic == POSES]
    assert [one.header.captured_unix_ns for one in documents] == [one.header.captured_unix_ns for one in sent]
    np.testing.assert_array_equal(documents[7].persons[0].xyz, sent[7].persons[0].xyz)
    assert [decode(data) for topic, _, data in logged if topic == META] == [
        replace(meta(world=True), rig=RIG_INFO)
    ]
    assert {time_ns for topic, time_ns, _ in logged if topic == META} == {sent[0].published_unix_ns}
    decoded = [message for *_, message in reader.iter_decoded_messages(topics="/tf")]
    assert len(decoded) == 60


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
