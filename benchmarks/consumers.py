"""Cost of the sinks for robots and animation: time and bytes per pose, and what a killed recording keeps.

    python benchmarks/consumers.py

The last line is JSON: us (microseconds per pose), bytes (per pose, on the wire or in the file), and kept
(share of the poses in the file of a process that was killed after 9.7 s).
"""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from sinks import SINKS
from sinks.ros2.convert import RosConverter
from sinks.sonic import WINDOW, encode
from sinks.vmc import VMC
from stream.config.load import import_component
from stream.files import mcap
from stream.messages import Meta, ModelInfo, PoseFrame
from stream.postprocess.batch import PoseBatch
from stream.postprocess.joint_rotations import JointRotations
from stream.protocols import ComponentContext, opened
from tests.rig_examples import UNIX_NS, dance, pose_frames

SECONDS = 9.7
COUNT = 485
AHEAD_NS = 120_000_000_000  # captured in the future, so that no pose is too old however slow the machine is
FILES = {"bvh": "x.bvh", "gltf": "x.glb", "mcap": "x.mcap", "jsonl": "x.jsonl", "npz": "x.npz"}
META = Meta("cam0", "s", "h36m17", (), (), (), (640, 480), "cam0_optical_frame", "m", ModelInfo())


def frames() -> list[PoseFrame]:
    """A moving person with keypoints."""
    kp2d = np.ones((17, 3), np.float32)
    start_ns = time.time_ns() + AHEAD_NS
    moved = []
    for frame in pose_frames(dance(SECONDS), "a3f9k"):
        header = replace(frame.header, captured_unix_ns=frame.header.captured_unix_ns - UNIX_NS + start_ns)
        moved.append(replace(frame, header=header, persons=(replace(frame.persons[0], kp2d=kp2d),)))
    return moved


def sink(kind: str, folder: Path) -> Any:
    make = import_component(SINKS[kind])
    settings: dict[str, Any] = {"path": str(folder / FILES[kind])} if kind in FILES else {}
    settings |= {"ros2": {"domain": 77}, "sonic": {"port": 0}, "zeromq": {"port": 0}}.get(kind, {})
    return make(make.Settings(**settings), ComponentContext(kind))


def microseconds(kind: str, folder: Path) -> float:
    """Median time of `send` for a frame with one person."""
    with opened(sink(kind, folder)) as opened_sink:
        opened_sink.send(META)
        times_ns = []
        for frame in frames():
            started_ns = time.perf_counter_ns()
            opened_sink.send(frame)
            times_ns.append(time.perf_counter_ns() - started_ns)
    return float(np.median(times_ns)) / 1000


def rotations_microseconds() -> float:
    """Median time of joint rotations for one person."""
    step, times_ns = JointRotations(), []
    for frame in frames():
        batch = PoseBatch.from_poses("h36m17", frame.header, (640, 480), frame.persons, frame.frame_id)
        started_ns = time.perf_counter_ns()
        step.apply(batch)
        times_ns.append(time.perf_counter_ns() - started_ns)
    return float(np.median(times_ns)) / 1000


def ros_bytes() -> float:
    """Mean bytes of all ROS 2 messages per pose."""
    converter, total, sent = RosConverter(), 0, frames()
    list(converter.convert(META))
    for frame in sent:
        total += sum(len(message.data or b"") for message in converter.convert(frame))
    return total / len(sent)


def vmc_bytes() -> float:
    """Bytes of the packets of one pose."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(1.0)
        settings = VMC.Settings(port=receiver.getsockname()[1])
        with opened(VMC(settings, ComponentContext("vmc"))) as vmc:
            vmc.send(frames()[0])
            return sum(len(receiver.recv(65536)) for _ in range(2))


def sonic_bytes() -> float:
    """Bytes of a message, which is sent for every frame of 50 Hz."""
    joints, quat = np.zeros((24, 3), np.float32), np.zeros(4, np.float32)
    return len(encode([(number, joints, quat) for number in range(WINDOW)]))


def kept(kind: str, folder: Path) -> float:
    """Share of the poses in the file of a process that was killed while it recorded in real time."""
    code = (
        "import sys; sys.path.insert(0, '.'); from benchmarks.consumers import record; "
        f"record({kind!r}, {str(folder)!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    path = folder / FILES[kind]
    if kind == "mcap":
        count = sum(1 for _ in mcap.read(path))
    elif kind == "bvh":
        text = path.read_text()
        count = int(text.split("Frames: ")[1].split("\n")[0])
    else:
        count = path.read_text().count('"pose3d"')
    return count / COUNT


def record(kind: str, folder: str) -> None:
    """Record in real time, announce the end and wait to be killed."""
    opened_sink = sink(kind, Path(folder))
    opened_sink.open()
    opened_sink.send(META)
    started_s = time.monotonic()
    for number, frame in enumerate(frames()):
        time.sleep(max(0.0, started_s + number / 50 - time.monotonic()))
        opened_sink.send(frame)
    print("recorded", flush=True)
    time.sleep(60)


def main() -> None:
    us: dict[str, float] = {"rotations": rotations_microseconds()}
    size: dict[str, float] = {"ros2": ros_bytes(), "vmc": vmc_bytes(), "sonic": sonic_bytes()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("vmc", "sonic", "ros2", "zeromq", *FILES):
            us[kind] = microseconds(kind, folder)
            if kind in FILES:
                size[kind] = (folder / FILES[kind]).stat().st_size / COUNT
        shares = {kind: round(kept(kind, folder), 3) for kind in ("mcap", "bvh", "jsonl")}
    rounded = {key: round(value) for key, value in us.items()}
    print(f"{'sink':10}{'us per pose':>14}{'bytes per pose':>16}{'kept after kill':>18}")
    for kind, value in rounded.items():
        print(f"{kind:10}{value:>14}{round(size.get(kind, 0)) or '':>16}{shares.get(kind, ''):>18}")
    result = {
        "benchmark": "consumers",
        "cpu": platform.processor() or platform.machine(),
        "us": rounded,
        "bytes": {key: round(value) for key, value in size.items()},
        "kept": shares,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
