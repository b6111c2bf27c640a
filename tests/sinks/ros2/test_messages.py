"""An independent reader of ROS 2 messages reads every field of ours."""

import numpy as np
import pytest

from sinks.ros2 import messages as ros
from tests.sinks.ros2.reader import typestore

STORE = typestore()
ROI = "hri_msgs/msg/NormalizedRegionOfInterest2D"
STAMP_NS = 1_700_000_000_123_456_789


def read(data: bytes, name: str):
    """The message; the reader must use up all bytes."""
    message = STORE.deserialize_cdr(data, name)
    assert bytes(STORE.serialize_cdr(message, name)) == data
    return message


@pytest.mark.parametrize("name", ros.HASHES)
def test_hashes_are_those_of_the_types(name: str):
    assert STORE.hash_rihs01(name) == f"RIHS01_{ros.HASHES[name]}"


def test_transforms():
    quat = (0.1, 0.2, 0.3, 0.9)
    transforms = [
        ros.Transform("map", "a", (1, 2, 3), quat),
        ros.Transform("a", "body_xyz12", (4, 5, 6), quat),
    ]
    message = read(ros.tf_message(STAMP_NS, transforms), "tf2_msgs/msg/TFMessage")
    first, second = message.transforms
    assert (first.header.stamp.sec, first.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert (first.header.frame_id, second.header.frame_id, second.child_frame_id) == (
        "map",
        "a",
        "body_xyz12",
    )
    assert (second.transform.translation.x, second.transform.translation.z) == (4, 6)
    assert (first.transform.rotation.y, first.transform.rotation.w) == (0.2, 0.9)


def test_markers():
    points = np.arange(12, dtype=np.float32).reshape(4, 3)
    colours = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    lines = ros.Marker(
        "map", "cam0/a", 3, scale=(0.02, 0, 0), lifetime_ns=250_000_000, points=points, colours=colours
    )
    gone = ros.Marker("map", "cam0/b", 4, ros.TEXT, ros.DELETE, position=(1, 2, 3), text="b")
    message = read(ros.marker_array(STAMP_NS, [lines, gone]), "visualization_msgs/msg/MarkerArray")
    first, second = message.markers
    assert (first.ns, first.id, first.type, first.action) == ("cam0/a", 3, ros.LINE_LIST, ros.ADD)
    assert (first.lifetime.sec, first.lifetime.nanosec) == (0, 250_000_000)
    assert (first.pose.orientation.w, first.scale.x) == (1, 0.02)
    assert [(point.x, point.y, point.z) for point in first.points] == list(map(tuple, points.tolist()))
    assert first.colors[3].a == 1
    assert (second.action, second.text, second.pose.position.y) == (ros.DELETE, "b", 2)


def test_bodies():
    points = np.arange(54, dtype=np.float32).reshape(18, 3)
    skeleton = read(ros.skeleton_2d(STAMP_NS, "cam0", points), "hri_msgs/msg/Skeleton2D")
    assert [(point.x, point.y, point.c) for point in skeleton.skeleton] == list(map(tuple, points.tolist()))
    ids = read(ros.ids_list(STAMP_NS, "cam0", ["a3f9k", "b"]), "hri_msgs/msg/IdsList")
    assert (ids.header.frame_id, ids.ids) == ("cam0", ["a3f9k", "b"])
    box = read(ros.region(STAMP_NS, "cam0", (0.25, 0.5, 0.75, 1), 0.5), ROI)
    assert (box.xmin, box.ymin, box.xmax, box.ymax, box.c) == (0.25, 0.5, 0.75, 1, 0.5)


def test_text_and_diagnostics():
    assert read(ros.string("<robot/>é"), "std_msgs/msg/String").data == "<robot/>é"
    rows = [(0, "cam0", "ok", {"frames": "3"}), (2, "door", "lost", {})]
    message = read(ros.diagnostic_array(STAMP_NS, "poselift", rows), "diagnostic_msgs/msg/DiagnosticArray")
    first, second = message.status
    assert (first.name, first.message) == ("poselift: cam0", "ok")
    assert (first.values[0].key, first.values[0].value) == ("frames", "3")
    assert (second.level, second.hardware_id) == (2, "poselift")
