"""SONIC's stream: windows of five overlapping frames on a fixed skeleton."""

import json
import math
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import zmq

from sinks.sonic import HEADER_BYTES, JOINTS, SONIC
from stream.clock import FakeClock
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, opened
from tests.rig_examples import about, dance, joints, pose_frames

DTYPES = {"f32": "<f4", "i64": "<i8"}


def received(*frames, seconds: float = 0.3, **settings) -> list[dict[str, np.ndarray]]:
    sink = SONIC(SONIC.Settings(port=0, **settings), ComponentContext("sonic", clock=FakeClock()))
    with opened(sink), zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.connect(sink.endpoint)
        subscriber.subscribe(b"pose")
        time.sleep(0.2)
        messages = []
        for frame in frames:
            sink.send(frame)
            while subscriber.poll(5):
                messages.append(decode(subscriber.recv()))
        while subscriber.poll(round(1000 * seconds)):
            messages.append(decode(subscriber.recv()))
    return messages


def decode(data: bytes) -> dict[str, np.ndarray]:
    assert data[:4] == b"pose"
    header = json.loads(data[4 : 4 + HEADER_BYTES].rstrip(b"\0"))
    assert (header["v"], header["endian"], header["count"]) == (3, "le", 1)
    values, start = {}, 4 + HEADER_BYTES
    for field in header["fields"]:
        dtype, size = np.dtype(DTYPES[field["dtype"]]), math.prod(field["shape"])
        values[field["name"]] = np.frombuffer(data, dtype, size, start).reshape(field["shape"])
        start += size * dtype.itemsize
    assert start == len(data)
    return values


def joint(message: dict[str, np.ndarray], name: str) -> np.ndarray:
    return message["smpl_joints"][-1, JOINTS.index(name)]


def test_windows_overlap_and_indices_are_consecutive():
    messages = received(*pose_frames(dance(0.4)))
    assert [message["frame_index"].tolist() for message in messages] == [
        list(range(n, n + 5)) for n in range(16)
    ]
    for before, after in pairwise(messages):
        np.testing.assert_array_equal(before["smpl_joints"][1:], after["smpl_joints"][:-1])


def test_the_fields_have_the_shapes_of_version_3():
    (message, *_) = received(*pose_frames(dance(0.1)))
    assert {name: array.shape for name, array in message.items()} == {
        "smpl_joints": (5, 24, 3),
        "body_quat": (5, 4),
        "smpl_pose": (5, 21, 3),
        "joint_pos": (5, 29),
        "joint_vel": (5, 29),
        "frame_index": (5,),
    }


def test_left_is_at_positive_y_and_up_at_positive_z():
    message = received(*pose_frames([joints()] * 5))[-1]
    assert joint(message, "left_wrist") == pytest.approx((-0.02, 0.08 + 0.1 + 0.26 + 0.25, 0.45), abs=0.03)
    assert joint(message, "head")[2] > 0.5
    assert joint(message, "left_foot")[0] > 0.1  # toes point ahead


def test_the_skeleton_is_the_same_for_every_person():
    frames = [1.3 * xyz for xyz in dance(0.2)]
    for message in received(*pose_frames(frames)):
        thigh = message["smpl_joints"][:, JOINTS.index("left_knee")] - message["smpl_joints"][:, 1]
        assert np.linalg.norm(thigh, axis=1) == pytest.approx(0.38, abs=1e-5)


def test_the_body_quaternion_is_that_of_the_pelvis_in_the_world():
    turned = [joints(Hips=about(y=90))] * 5  # from facing the camera to their left
    first = received(*pose_frames([joints()] * 5))[-1]["body_quat"][-1]
    second = received(*pose_frames(turned))[-1]["body_quat"][-1]
    assert np.abs(first) == pytest.approx((1, 0, 0, 0), abs=1e-5)
    assert second * np.sign(second[0]) == pytest.approx((math.sqrt(0.5), 0, 0, math.sqrt(0.5)), abs=1e-5)


def test_poses_of_25_hz_are_sent_at_50_hz():
    frames = pose_frames(dance(1))[::2]
    assert received(*frames)[-1]["frame_index"][-1] == 48


def test_silence_after_the_person_is_lost_and_indices_go_on_with_the_next_person():
    first = pose_frames(dance(0.2), "a", lost_after=True)
    assert len(received(*first, *pose_frames(dance(0.2), "a")[:0])) == 6
    messages = received(*first, *pose_frames(dance(0.2), "b"))
    indices = [message["frame_index"][-1] for message in messages]
    assert indices == [*range(4, 10), *range(14, 20)]


def test_persons_absent_from_a_frame_are_lost_and_the_next_one_is_followed():
    first, second = pose_frames(dance(0.2), "a"), pose_frames(dance(0.2), "b")
    second = [later(frame, 1.0) for frame in second]
    messages = received(*first, later(replace(first[-1], persons=()), 0.5), *second)
    indices = [message["frame_index"][-1] for message in messages]
    assert indices == [*range(4, 10), *range(14, 20)]


def test_old_poses_are_not_sent():
    assert received(*[later(frame, -1.0) for frame in pose_frames(dance(0.2))]) == []


def later(frame: PoseFrame, seconds: float) -> PoseFrame:
    unix_ns = frame.header.captured_unix_ns + round(seconds * 1e9)
    return replace(frame, header=replace(frame.header, captured_unix_ns=unix_ns))
