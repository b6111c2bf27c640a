"""Cost of the sinks for robots and animation: time, age and bytes per pose, and what survives a kill.

    python benchmarks/consumers.py

The last line is JSON: us (microseconds per pose of one person in which the sending thread computes),
us_of_20 (per person of twenty; SONIC sends one of them), added_ms (median and 95th percentile of the time
from `send` to the receiver, on this machine), bytes (per pose, on the wire or in the file), and kept (share
of the poses in the file of a process that was killed after 9.7 s).
"""

import functools
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from sinks import SINKS
from sinks.recording_path import journal_path
from sinks.ros2.convert import RosConverter
from sinks.sonic import WINDOW, encode
from sinks.vmc import VMC
from stream.config.load import import_component
from stream.files import mcap
from stream.messages import Meta, ModelInfo, PoseFrame
from stream.postprocess.batch import PoseBatch
from stream.postprocess.joint_rotations import JointRotations
from stream.protocols import ComponentContext, opened
from stream.wire.codec import encode as encode_document
from tests.conftest import Mosquitto
from tests.rig_examples import UNIX_NS, dance, pose_frames
from tests.sinks.listeners import captured, listening

SECONDS = 9.7
COUNT = 485
TIMED = 200  # frames
AHEAD_NS = 120_000_000_000  # captured in the future, so that no pose is too old however slow the machine is
FILES = {"bvh": "x.bvh", "gltf": "x.glb", "mcap": "x.mcap", "jsonl": "x.jsonl", "npz": "x.npz"}
SETTINGS: dict[str, dict[str, Any]] = {
    **{"ros2": {"domain": 77}, "sonic": {"port": 0}, "zeromq": {"port": 0}, "vmc": {"max_persons": 20}},
    "mqtt": {"port": 9, "max_hz": 1000.0},  # no broker answers there
}
LIVE = ("ros2", "vmc", "sonic", "zeromq", "mqtt")
META = Meta("cam0", "s", "h36m17", (), (), (), (640, 480), "cam0_optical_frame", "m", ModelInfo())


def frames() -> list[PoseFrame]:
    """A moving person with keypoints."""
    start_ns = time.time_ns() + AHEAD_NS
    return [
        replace(
            frame,
            header=replace(frame.header, captured_unix_ns=frame.header.captured_unix_ns - UNIX_NS + start_ns),
        )
        for frame in walk()
    ]


@functools.cache
def walk() -> list[PoseFrame]:
    kp2d = np.ones((17, 3), np.float32)
    return [
        replace(frame, persons=(replace(frame.persons[0], kp2d=kp2d),))
        for frame in pose_frames(dance(SECONDS), "a3f9k")
    ]


def sink(kind: str, folder: Path) -> Any:
    make = import_component(SINKS[kind])
    settings: dict[str, Any] = {"path": str(folder / FILES[kind])} if kind in FILES else {}
    return make(make.Settings(**settings, **SETTINGS.get(kind, {})), ComponentContext(kind))


def crowd(frame: PoseFrame, persons: int) -> PoseFrame:
    """The frame with copies of its person, each with an id of its own."""
    (person,) = frame.persons
    return replace(frame, persons=tuple(replace(person, id=f"p{n:04}") for n in range(persons)))


def microseconds(kind: str, folder: Path, persons: int) -> float:
    """Median time of the thread per person of `send` for a frame with this many persons."""
    with opened(sink(kind, folder)) as opened_sink:
        opened_sink.send(META)
        times_ns = []
        for frame in [crowd(frame, persons) for frame in frames()[:TIMED]]:
            started_ns = time.thread_time_ns()
            opened_sink.send(frame)
            times_ns.append(time.thread_time_ns() - started_ns)
    return float(np.median(times_ns)) / 1000 / persons


def added_ms(kind: str, broker: Mosquitto) -> tuple[float, float]:
    """Median and 95th percentile of the time from `send` until the receiver has read the pose."""
    changes = {"max_hz": 1000.0} if kind == "mqtt" else {}
    with ExitStack() as stack, listening(kind, broker, 77, **changes) as (live, make_listener):
        listener = make_listener(stack)
        times_ms: list[float] = []
        for number, frame in enumerate(frames()):
            heard = listener.poses
            started_s = time.perf_counter()
            live.send(captured(frame, 0.0))
            while listener.poses == heard and time.perf_counter() < started_s + 0.2:
                listener.words()
                time.sleep(1e-4)  # other threads of this process work too
            if listener.poses > heard and number > 50:  # the first ones find no connection yet
                times_ms.append(1e3 * (time.perf_counter() - started_s))
            time.sleep(max(0.0, 0.02 - (time.perf_counter() - started_s)))
    return float(np.median(times_ms)), float(np.percentile(times_ms, 95))


def rotations_microseconds() -> float:
    """Median time of joint rotations for one person."""
    step, times_ns = JointRotations(), []
    for frame in frames():
        batch = PoseBatch.from_poses("h36m17", frame.header, (640, 480), frame.persons, frame.frame_id)
        started_ns = time.thread_time_ns()
        step.apply(batch)
        times_ns.append(time.thread_time_ns() - started_ns)
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
    if kind == "npz":
        path = journal_path(path)
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
    us_of_20, age = dict[str, float](), dict[str, tuple[float, float]]()
    size: dict[str, float] = {"ros2": ros_bytes(), "vmc": vmc_bytes(), "sonic": sonic_bytes()}
    size["zeromq"] = float(np.mean([len(encode_document(frame)) for frame in frames()]))
    size["mqtt"] = float(np.mean([len(encode_document(frame, "json")) for frame in frames()]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder)
        broker.start()
        for kind in (*LIVE, *FILES):
            us_of_20[kind] = microseconds(kind, make_folder(folder / f"{kind}20"), 20)
            us[kind] = microseconds(kind, make_folder(folder / kind), 1)
            if kind in FILES:
                size[kind] = (folder / kind / FILES[kind]).stat().st_size / TIMED
            if kind in LIVE:
                age[kind] = added_ms(kind, broker)
        broker.stop()
        kept_of = {
            kind: round(kept(kind, make_folder(folder / f"{kind}-killed")), 3)
            for kind in ("mcap", "bvh", "jsonl", "npz")
        }
    print(f"{'sink':10}{'us':>8}{'us of 20':>10}{'added ms':>10}{'p95':>8}{'bytes':>8}{'kept':>8}")
    for kind, value in us.items():
        median, p95 = (f"{number:.1f}" for number in age[kind]) if kind in age else ("", "")
        print(
            f"{kind:10}{value:8.0f}{us_of_20.get(kind, 0):10.0f}{median:>10}{p95:>8}"
            f"{size.get(kind, 0):8.0f}{kept_of.get(kind, ''):>8}"
        )
    result = {
        "benchmark": "consumers",
        "cpu": platform.processor() or platform.machine(),
        "us": rounded(us),
        "us_of_20": rounded(us_of_20),
        "added_ms": {kind: [round(number, 2) for number in times] for kind, times in age.items()},
        "bytes": rounded(size),
        "kept": kept_of,
    }
    print(json.dumps(result))


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


def rounded(values: dict[str, float]) -> dict[str, int]:
    return {key: round(value) for key, value in values.items()}


if __name__ == "__main__":
    main()
