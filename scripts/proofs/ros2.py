"""ROS 2: Fast DDS, the middleware of Humble and Jazzy, receives every topic; rosbags decodes the messages.

Needs g++ and libfastrtps-dev. Compares joint positions from /tf and from the markers with the poses sent.
"""

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.proofs.proof import report
from sinks.ros2 import ROS2
from sinks.ros2.participant import dds_type
from stream.messages import PoseFrame, Status
from stream.protocols import ComponentContext, opened
from tests.rig_examples import UNIX_NS, dance, pose_frames
from tests.sinks.ros2.reader import typestore
from tests.sinks.ros2.test_sink import TYPES, meta, with_keypoints

DOMAIN = 41
LISTEN_S = 12.0
JOINTS = {"l_wrist": 13, "r_wrist": 16, "l_ankle": 6, "r_ankle": 3, "l_knee": 5, "r_elbow": 15, "torso": 7}
STATES = {"cam0": {"state": "ok", "detail": ""}}


def listener(folder: Path) -> Path:
    """Compile the subscriber."""
    program = folder / "fastdds_listener"
    source = Path(__file__).with_name("fastdds_listener.cpp")
    subprocess.run(["g++", "-O1", "-std=c++17", "-o", program, source, "-lfastrtps", "-lfastcdr"], check=True)
    return program


def received(program: Path, frames: list[PoseFrame]) -> dict[str, list]:
    """Messages by topic that the subscriber got while the frames were sent."""
    names = [f"rt{topic}={dds_type(name)}" for topic, name in TYPES.items()]
    process = subprocess.Popen(
        [program, str(DOMAIN), str(LISTEN_S), *names], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with opened(ROS2(ROS2.Settings(domain=DOMAIN), ComponentContext("ros2"))) as sink:
        time.sleep(1.5)  # discovery
        sink.send(meta())
        sink.send(Status("poselift", "s", time.time_ns(), {"states": STATES}))
        for frame in frames:
            time.sleep(max(0.0, (frame.header.captured_unix_ns - time.time_ns()) / 1e9))
            sink.send(frame)
        output, _ = process.communicate(timeout=60)
    store, messages = typestore(), defaultdict(list)
    for line in output.splitlines():
        topic, data = line.split(" ")
        name = topic.removeprefix("rt")
        messages[name].append(store.deserialize_cdr(bytes.fromhex(data), TYPES[name]))
    return messages


def stamp_ns(header) -> int:
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def joints_mm(message, frame: PoseFrame) -> float:
    """Largest distance between joints from the transforms and of the pose."""
    transforms = {one.child_frame_id.rsplit("_", 1)[0]: one.transform for one in message.transforms}

    def place(name: str) -> np.ndarray:
        offset = transforms[name].translation
        return np.array([offset.x, offset.y, offset.z])

    turn = transforms["body"].rotation
    body = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w])
    (person,) = frame.persons
    errors = [
        np.linalg.norm(place("body") + body.apply(place(name)) - person.root - person.xyz[joint])
        for name, joint in JOINTS.items()
    ]
    return 1000 * float(max(errors))


def captured_from(start_ns: int) -> list[PoseFrame]:
    """Four seconds of a moving person, captured from this time on."""
    frames = []
    for frame in pose_frames(dance(4), "a3f9k"):
        unix_ns = frame.header.captured_unix_ns - UNIX_NS + start_ns
        frames.append(with_keypoints(replace(frame, header=replace(frame.header, captured_unix_ns=unix_ns))))
    return frames


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = listener(Path(folder))
        frames = captured_from(time.time_ns() + 2 * 10**9)
        messages = received(program, frames)
    by_stamp = {frame.header.captured_unix_ns: frame for frame in frames}
    tf_mm = max(joints_mm(one, by_stamp[stamp_ns(one.transforms[0].header)]) for one in messages["/tf"])
    points_mm = 0.0
    for message in messages["/poselift/markers"]:
        spheres = message.markers[1]
        (person,) = by_stamp[stamp_ns(spheres.header)].persons
        sent = person.xyz + person.root
        shown = np.array([(point.x, point.y, point.z) for point in spheres.points])
        points_mm = max(points_mm, 1000 * float(np.linalg.norm(shown - sent, axis=1).max()))
    missing = sorted(TYPES.keys() - messages.keys())
    share = len(messages["/tf"]) / len(frames)
    report(
        "ROS 2: Fast DDS",
        not missing and tf_mm < 0.01 and points_mm < 0.01 and share > 0.99,
        topics=len(messages),
        missing=missing,
        tf_received=f"{len(messages['/tf'])} of {len(frames)}",
        tf_error_mm=round(tf_mm, 4),
        marker_error_mm=round(points_mm, 4),
    )


if __name__ == "__main__":
    main()
