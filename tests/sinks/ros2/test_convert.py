"""The tree of frames that two cameras and several persons make: one parent per frame, no static one lost."""

from dataclasses import replace

from sinks.ros2.convert import TF, TF_STATIC, TF_TYPE, RosConverter
from stream.camera_info import Extrinsics
from stream.messages import Meta, ModelInfo, PoseFrame
from tests.rig_examples import dance, pose_frames
from tests.sinks.ros2.reader import typestore

STORE = typestore()


def meta(source: str, extrinsics: Extrinsics | None = None) -> Meta:
    return Meta(source, "s", "h36m17", (), (), (), (640, 480), "x", "m", ModelInfo(), None, extrinsics)


def of(source: str, frame: PoseFrame) -> PoseFrame:
    return replace(frame, header=replace(frame.header, source=source), frame_id=f"{source}_optical_frame")


def transforms(topic: str, *messages: object) -> list[list[tuple[str, str]]]:
    """Parent and child of every transform, message by message."""
    converter = RosConverter()
    found = []
    for message in messages:
        for converted in converter.convert(message):
            if converted.topic == topic:
                decoded = STORE.deserialize_cdr(converted.data, TF_TYPE)
                found.append([(one.header.frame_id, one.child_frame_id) for one in decoded.transforms])
    return found


def test_every_static_message_has_the_transforms_of_all_cameras():
    world = Extrinsics("world", "cam0_optical_frame", (0.0, 0.0, 2.0), (0.0, 0.0, 0.0, 1.0), "given")
    *_, last = transforms(TF_STATIC, meta("cam0", world), meta("cam1"))
    assert last == [("world", "cam0_optical_frame"), ("cam1_link", "cam1_optical_frame")]


def test_a_frame_has_one_parent():
    walk = pose_frames(dance(0.2), "a3f9k")
    messages = [meta("cam0"), meta("cam1"), *(of("cam0", frame) for frame in walk)]
    messages += [of("cam1", frame) for frame in pose_frames(dance(0.2), "b3f9k")]
    pairs = {pair for topic in (TF, TF_STATIC) for found in transforms(topic, *messages) for pair in found}
    children = [child for _, child in pairs]
    assert len(children) == len(set(children)) == 2 + 2 * 15
