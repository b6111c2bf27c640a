"""A DDS subscriber in another process gets what the ROS 2 sink publishes."""

import pickle
import re
import socket
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication
from cyclonedds.domain import DomainParticipant
from scipy.spatial.transform import Rotation

from sinks.ros2 import ROS2
from sinks.ros2.bodies import ros_id
from stream.camera_info import Extrinsics
from stream.errors import ConfigError
from stream.messages import Meta, ModelInfo, PoseFrame, Status
from stream.protocols import ComponentContext, opened
from tests.examples import pose_frame
from tests.rig_examples import UNIX_NS, joints, pose_frames
from tests.sinks.ros2.reader import typestore

STORE = typestore()
TYPES = {
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/poselift/markers": "visualization_msgs/msg/MarkerArray",
    "/humans/bodies/tracked": "hri_msgs/msg/IdsList",
    "/humans/bodies/a3f9k/skeleton2d": "hri_msgs/msg/Skeleton2D",
    "/humans/bodies/a3f9k/roi": "hri_msgs/msg/NormalizedRegionOfInterest2D",
    "/humans/bodies/a3f9k/urdf": "std_msgs/msg/String",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}


class Subscriber:
    """A process that subscribes to all topics and prints the raw bytes of messages at its end."""

    def __init__(self, domain: int, seconds: float) -> None:
        script = Path(__file__).with_name("subscriber.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(domain), str(seconds)], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def messages(self) -> dict[str, list]:
        """Messages by topic, read by another library than the one that wrote them."""
        output, _ = self._process.communicate(timeout=30)
        received = defaultdict(list)
        for topic, data in pickle.loads(output):
            received[topic].append(STORE.deserialize_cdr(data, TYPES[topic]))
        return received


def published(domain: int, *messages: object, pause_s: float = 0.03) -> dict[str, list]:
    sink = ROS2(ROS2.Settings(domain=domain), ComponentContext("ros2"))
    subscriber = Subscriber(domain, 3.0)
    with opened(sink):
        time.sleep(0.7)
        start_ns = time.time_ns()
        for message in messages:
            if isinstance(message, PoseFrame):  # as if the first was captured now
                captured_ns = message.header.captured_unix_ns - UNIX_NS + start_ns
                message = replace(message, header=replace(message.header, captured_unix_ns=captured_ns))
            sink.send(message)
            time.sleep(pause_s)
        time.sleep(0.3)
        return subscriber.messages()


def meta(extrinsics: Extrinsics | None = None) -> Meta:
    return Meta("cam0", "s", "h36m17", (), (), (), (640, 480), "x", "m", ModelInfo(), None, extrinsics)


def with_keypoints(frame: PoseFrame) -> PoseFrame:
    kp2d = np.stack([np.arange(17.0) * 20, np.arange(17.0) * 10, np.full(17, 0.5)], axis=1).astype(np.float32)
    return replace(frame, persons=(replace(frame.persons[0], kp2d=kp2d),))


def test_body_frames_stand_where_the_person_stands(domain: int):
    frames = [with_keypoints(frame) for frame in pose_frames([joints()] * 5, "a3f9k")]
    received = published(domain, meta(), *frames)
    transforms = {one.child_frame_id: one for one in received["/tf"][-1].transforms}
    body = transforms["body_a3f9k"]
    assert body.header.frame_id == "cam0_optical_frame"
    place = body.transform.translation
    assert (place.x, place.y, place.z) == pytest.approx((0.1, 0.2, 3.0))
    turn = body.transform.rotation
    axes = Rotation.from_quat((turn.x, turn.y, turn.z, turn.w)).as_matrix()
    np.testing.assert_allclose(axes[:, 0], (0, 0, -1), atol=1e-6)  # x out of the body: towards the camera
    np.testing.assert_allclose(axes[:, 2], (0, -1, 0), atol=1e-6)  # z towards the head
    wrist = transforms["l_wrist_a3f9k"]
    assert (wrist.header.frame_id, len(transforms)) == ("body_a3f9k", 15)
    assert wrist.transform.translation.y == pytest.approx(0.69, abs=1e-5)  # y to the person's left
    assert len(received["/tf"]) == 5
    assert received["/humans/bodies/tracked"][-1].ids == ["a3f9k"]
    (static,) = received["/tf_static"][-1].transforms
    assert (static.header.frame_id, static.child_frame_id) == ("cam0_link", "cam0_optical_frame")


def test_image_topics_and_the_robot_description(domain: int):
    frames = [with_keypoints(frame) for frame in pose_frames([joints()] * 30, "a3f9k")]
    received = published(domain, meta(), *frames)
    skeleton = received["/humans/bodies/a3f9k/skeleton2d"][-1].skeleton
    left_ankle = skeleton[13]
    assert (left_ankle.x, left_ankle.y, left_ankle.c) == pytest.approx((120 / 640, 60 / 480, 0.5))
    assert [point.c for point in skeleton[14:]] == [0, 0, 0, 0]  # eyes and ears are not known
    box = received["/humans/bodies/a3f9k/roi"][-1]
    assert (box.xmin, box.ymin, box.xmax, box.ymax) == pytest.approx((0, 0, 0.5, 160 / 480))
    assert received["/humans/bodies/a3f9k/urdf"][-1].data.count("<link ") == 15


def test_poses_of_a_world_are_turned_back_to_the_camera(domain: int):
    half_turn = (1.0, 0.0, 0.0, 0.0)
    place = Extrinsics("world", "cam0_optical_frame", (0.0, 0.0, 2.0), half_turn, "given")
    frames = pose_frames([joints()] * 5, "a3f9k", root=(1, 2, 0.5), frame_id="world")
    received = published(domain, meta(place), *frames)
    body = received["/tf"][-1].transforms[0]
    position = body.transform.translation
    assert (position.x, position.y, position.z) == pytest.approx((1, -2, 1.5))
    (static,) = received["/tf_static"][-1].transforms
    assert (static.header.frame_id, static.transform.translation.z) == ("world", 2)
    assert received["/poselift/markers"][-1].markers[0].header.frame_id == "world"


def test_markers_of_a_lost_person_are_deleted_and_its_id_leaves_the_list(domain: int):
    received = published(domain, *pose_frames([joints()] * 5, "a3f9k", lost_after=True))
    shown, removed = received["/poselift/markers"][0].markers, received["/poselift/markers"][-1].markers
    assert [(one.id, one.action) for one in shown] == [(0, 0), (1, 0), (2, 0)]
    assert {(one.ns, one.action) for one in removed} == {("cam0/a3f9k", 2)}
    assert shown[0].lifetime.nanosec == 250_000_000
    assert received["/humans/bodies/tracked"][-1].ids == []


def test_stamps_are_never_repeated_and_old_poses_are_not_sent(domain: int):
    frames = pose_frames([joints()] * 3, "a3f9k")
    old = replace(frames[0], header=replace(frames[0].header, captured_unix_ns=UNIX_NS - 5 * 10**9))
    received = published(domain, frames[0], frames[0], old, frames[1], frames[1])
    headers = [message.transforms[0].header.stamp for message in received["/tf"]]
    stamps = [(stamp.sec, stamp.nanosec) for stamp in headers]
    assert len(stamps) == len(set(stamps)) == 2
    tracked = [message.ids for message in received["/humans/bodies/tracked"]]
    assert tracked == [["a3f9k"], ["a3f9k"], [], ["a3f9k"], ["a3f9k"]]


def test_lost_persons_are_reported_however_late(domain: int):
    *frames, last = pose_frames([joints()] * 3, "a3f9k", lost_after=True)
    late = replace(last, header=replace(last.header, captured_unix_ns=UNIX_NS - 60 * 10**9))
    received = published(domain, *frames, late)
    assert [marker.action for marker in received["/poselift/markers"][-1].markers] == [2, 2, 2]
    assert received["/humans/bodies/tracked"][-1].ids == []


def test_persons_absent_from_a_frame_are_lost(domain: int):
    frames = pose_frames([joints()] * 4, "a3f9k")
    received = published(domain, *frames[:3], replace(frames[3], persons=()))
    assert [marker.action for marker in received["/poselift/markers"][-1].markers] == [2, 2, 2]
    assert received["/humans/bodies/tracked"][-1].ids == []


def test_states_become_diagnostics(domain: int):
    report = {
        "states": {"cam0": {"state": "retrying", "detail": "no route"}},
        "counters": {},
        "stages_ms": {},
    }
    received = published(domain, Status("poselift", "s", 10**18, report))
    (row,) = received["/diagnostics"][-1].status
    assert (row.level, row.name, row.message) == (1, "poselift: cam0", "retrying: no route")


@pytest.mark.parametrize("id", ["robot/../1", "x" * 200, "1abcd", "ABCDE", ""])
def test_ids_given_by_senders_become_five_letters_and_digits(id: str):
    mapped = ros_id("cam0", id)
    assert re.fullmatch("[a-z][a-z0-9]{4}", mapped)
    assert mapped == ros_id("cam0", id) != ros_id("cam1", id)
    assert ros_id("cam0", "a3f9k") == "a3f9k"


@pytest.mark.parametrize("settings", [{"domain": 102}, {"interface": 'lo"/><x'}, {"max_age_ms": 0.0}])
def test_settings_that_cannot_work_are_refused(settings: dict):
    with pytest.raises(ConfigError, match=r"ros2.*: expected"):
        ROS2.Settings(**settings)


def test_topics_have_the_type_names_of_ros(domain: int):
    with opened(ROS2(ROS2.Settings(domain=domain), ComponentContext("ros2"))):
        participant = DomainParticipant(domain)
        reader = BuiltinDataReader(participant, BuiltinTopicDcpsPublication)
        found = {sample.topic_name: sample.type_name for sample in reader.take(100)}
    assert found == {
        "rt/tf": "tf2_msgs::msg::dds_::TFMessage_",
        "rt/tf_static": "tf2_msgs::msg::dds_::TFMessage_",
        "rt/poselift/markers": "visualization_msgs::msg::dds_::MarkerArray_",
        "rt/humans/bodies/tracked": "hri_msgs::msg::dds_::IdsList_",
        "rt/diagnostics": "diagnostic_msgs::msg::dds_::DiagnosticArray_",
        "ros_discovery_info": "rmw_dds_common::msg::dds_::ParticipantEntitiesInfo_",
    }


def test_closing_removes_all_persons(domain: int):
    subscriber = Subscriber(domain, 3.0)
    with opened(ROS2(ROS2.Settings(domain=domain, max_age_ms=1e15), ComponentContext("ros2"))) as sink:
        time.sleep(0.7)
        for frame in pose_frames([joints()] * 5, "a3f9k"):
            sink.send(frame)
    received = subscriber.messages()
    assert [marker.action for marker in received["/poselift/markers"][-1].markers] == [2, 2, 2]
    assert received["/humans/bodies/tracked"][-1].ids == []


def test_a_late_subscriber_gets_the_static_transforms_and_the_description(domain: int):
    frames = pose_frames([joints()] * 60, "a3f9k")
    sink = ROS2(ROS2.Settings(domain=domain, max_age_ms=1e15), ComponentContext("ros2"))
    with opened(sink):
        sink.send(meta())
        for frame in frames[:5]:
            sink.send(frame)
        subscriber = Subscriber(domain, 2.5)
        for frame in frames[5:]:
            sink.send(frame)
            time.sleep(0.02)
        received = subscriber.messages()
    assert received["/tf_static"][0].transforms[0].child_frame_id == "cam0_optical_frame"
    assert "body_a3f9k" in received["/humans/bodies/a3f9k/urdf"][0].data
    assert 0 < len(received["/tf"]) <= 55  # nothing of the time before


def test_malformed_packets_of_strangers_are_neither_logged_nor_fatal(domain, capfd):
    with (
        opened(ROS2(ROS2.Settings(domain=domain, max_age_ms=1e15), ComponentContext("ros2"))) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        ports = [7400 + 250 * domain + offset + 2 * index for index in range(10) for offset in (10, 11)]
        header = b"RTPS\x02\x01\x01\x10" + bytes(range(12))
        for _ in range(50):
            for port in ports:  # those of the first ten participants of the domain
                stranger.sendto(header + b"\x08\x01\xff\xff" + bytes(400), ("127.0.0.1", port))
        sink.send(pose_frame(persons=()))
    assert "malformed" not in capfd.readouterr().err
