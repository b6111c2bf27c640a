"""MCAP recordings are read by the official reader, by a reader of ROS 2 bags, and by ourselves."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

from sinks.mcap import MCAP
from stream.clock import FakeClock
from stream.errors import ConfigError
from stream.files import mcap
from stream.messages import Meta, ModelInfo
from stream.protocols import ComponentContext, opened
from tests.examples import plain, status
from tests.rig_examples import dance, joints, pose_frames

META = Meta("cam0", "s", "h36m17", (), (), (), (640, 480), "cam0_optical_frame", "m", ModelInfo())


def recorded(path: Path, *messages: object) -> Path:
    with opened(MCAP(MCAP.Settings(path=str(path)), ComponentContext("mcap", clock=FakeClock()))) as sink:
        for message in messages:
            sink.send(message)
    return path


def test_ros_tools_read_transforms_and_markers(tmp_path: Path):
    path = recorded(tmp_path / "x.mcap", META, *pose_frames(dance(0.2), "a3f9k"))
    with AnyReader([path]) as reader:
        names = {
            connection.topic: connection.msgtype for connection in reader.connections if connection.msgtype
        }
        transforms = [
            reader.deserialize(data, connection.msgtype)
            for connection, _, data in reader.messages()
            if connection.topic == "/tf"
        ]
    assert names["/tf_static"] == "tf2_msgs/msg/TFMessage"
    assert names["/poselift/markers"] == "visualization_msgs/msg/MarkerArray"
    assert len(transforms) == 10
    assert transforms[0].transforms[0].child_frame_id == "body_a3f9k"


def test_the_official_reader_decodes_by_the_schemas_in_the_file(tmp_path: Path):
    path = recorded(
        tmp_path / "x.mcap", META, *pose_frames([joints()] * 3, "a3f9k", lost_after=True), status()
    )
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        topics = [channel.topic for _, channel, _ in reader.iter_messages()]
        decoded = {channel.topic: message for _, channel, _, message in reader.iter_decoded_messages(topics=[
            "/tf", "/tf_static", "/poselift/markers", "/humans/bodies/tracked", "/diagnostics"])}  # fmt: skip
        header, summary = reader.get_header(), reader.get_summary()
    assert header.profile == "ros2"
    assert topics[:2] == ["/poselift/meta", "/tf_static"]
    assert decoded["/tf"].transforms[1].child_frame_id == "torso_a3f9k"
    assert [marker.action for marker in decoded["/poselift/markers"].markers] == [2, 2, 2]
    assert summary.statistics.message_count == len(topics)


def test_our_reader_returns_the_poses_whole(tmp_path: Path):
    frames = pose_frames(dance(0.2))
    path = recorded(tmp_path / "x.mcap", META, *frames)
    read = list(mcap.read(path))
    assert [frame.header.captured_ns for frame in read] == [n * 20_000_000 for n in range(10)]
    for before, after in zip(frames, read, strict=True):
        (sent,), (received,) = before.persons, after.persons
        np.testing.assert_allclose(received.rotations.quat, sent.rotations.quat, atol=1e-12)
        assert plain(replace(received, rotations=None)) == plain(replace(sent, rotations=None))
        assert (after.frame_id, after.session) == (before.frame_id, before.session)


def test_a_recording_cut_at_any_byte_is_read_up_to_the_cut(tmp_path: Path):
    content = recorded(tmp_path / "whole.mcap", *pose_frames([joints()] * 3, "a3f9k")).read_bytes()
    cut, counts = tmp_path / "cut.mcap", []
    for length in range(len(content) - 300, len(content)):
        cut.write_bytes(content[:length])
        counts.append(len(list(mcap.read(cut))))
    assert counts == sorted(counts)
    assert counts[-1] == 3


def test_a_killed_recording_lacks_at_most_a_second_and_is_repaired(tmp_path: Path):
    path = tmp_path / "x.mcap"
    script = f"""
import time
from sinks.mcap import MCAP
from stream.protocols import ComponentContext
from tests.rig_examples import joints, pose_frames
sink = MCAP(MCAP.Settings(path={str(path)!r}), ComponentContext("mcap"))
sink.open()
for n, frame in enumerate(pose_frames([joints()] * 200)):
    sink.send(frame)
    print(n, flush=True)
    time.sleep(0.02)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    sent = 0
    while sent < 125:
        sent = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with path.open("rb") as file, pytest.raises(McapError):
        make_reader(file).get_summary()
    kept = len(list(mcap.read(path)))
    assert kept >= sent - 60
    assert mcap.repair(path, tmp_path / "repaired.mcap") > kept
    with (tmp_path / "repaired.mcap").open("rb") as file:
        assert make_reader(file).get_summary().statistics.message_count > kept
    assert len(list(mcap.read(tmp_path / "repaired.mcap"))) == kept


def test_other_files_are_refused(tmp_path: Path):
    (tmp_path / "x.mcap").write_bytes(b"not a recording")
    with pytest.raises(ConfigError, match="expected an MCAP file"):
        list(mcap.read(tmp_path / "x.mcap"))
    with pytest.raises(ConfigError, match="there is none"):
        list(mcap.read(tmp_path / "y.mcap"))
    with pytest.raises(ConfigError, match=r"ending in .mcap"):
        MCAP.Settings(path="x.bag")


def test_documents_are_plain_json(tmp_path: Path):
    path = recorded(tmp_path / "x.mcap", *pose_frames([joints()]))
    with path.open("rb") as file:
        (message,) = [m for _, c, m in make_reader(file).iter_messages() if c.topic == "/poselift/pose3d"]
    document = json.loads(message.data)
    assert (document["schema"], document["persons"][0]["id"]) == ("pose3d", "a")
    assert len(document["persons"][0]["quat"]) == 19
