"""A running config with a synthetic person: every sink for avatars and robots reaches its receiver."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
from rosbags.highlevel import AnyReader

from stream.config.load import resolve
from stream.runtime.pipeline import Pipeline
from tests.sinks.ros2.test_sink import Subscriber
from tests.sinks.test_bvh import Reader
from tests.sinks.test_gltf import read as read_gltf
from tests.sinks.test_sonic import decode
from tests.sinks.test_vmc import Receiver

FRAMES, LIVE_FRAMES = 60, 150


def pipeline(sink: dict[str, Any], live: bool = False) -> Pipeline:
    walk = {
        "type": "synthetic",
        "pace": "realtime" if live else "full",
        "frames": LIVE_FRAMES if live else FRAMES,
    }
    lifter = {"device": "cpu", "threads": 1}
    return Pipeline(resolve({"sources": {"walk": walk}, "lifter": lifter, "sinks": {"out": sink}}))


def run(running: Pipeline) -> None:
    with running:
        assert running.wait(60)
    assert running.error is None


def test_vmc_moves_an_avatar_until_the_source_ends():
    messages = []
    with ExitStack() as stack:
        receiver = Receiver(1, stack)
        with pipeline({"type": "vmc", "port": receiver.port}, live=True) as running:
            while not running.wait(0.2):
                messages += receiver.messages()
        messages += receiver.messages()
    states = [message[1:] for message in messages if message[0] == "/VMC/Ext/OK"]
    assert states[0] == (1, 3, 0, 1)
    assert states[-2:] == [(1, 3, 0, 0), (0,)]
    bones = {message[1] for message in messages if message[0] == "/VMC/Ext/Bone/Pos"}
    assert len(bones) == 19


def test_bvh_holds_the_whole_run(tmp_path: Path):
    run(pipeline({"type": "bvh", "path": str(tmp_path / "x.bvh"), "fps": 30}))
    read = Reader(tmp_path / "x.bvh")
    assert read.frames == len(read.rows) >= FRAMES / 2


@pytest.mark.parametrize("suffix", ["glb", "vrma"])
def test_gltf_holds_the_whole_run(tmp_path: Path, suffix: str):
    path = tmp_path / f"x.{suffix}"
    run(pipeline({"type": "gltf", "path": str(path), "fps": 30}))
    document, values = read_gltf(path)
    assert len(document["animations"][0]["channels"]) == 20
    assert len(values[0]) >= FRAMES / 2


def test_mcap_holds_transforms_and_documents(tmp_path: Path):
    path = tmp_path / "x.mcap"
    run(pipeline({"type": "mcap", "path": str(path)}))
    with AnyReader([path]) as reader:
        counts = {name: topic.msgcount for name, topic in reader.topics.items()}
    assert counts["/tf"] == counts["/poselift/pose3d"] == counts["/humans/bodies/tracked"] == FRAMES
    assert counts["/tf_static"] >= 1


def test_sonic_gets_windows_of_the_person():
    running = pipeline({"type": "sonic", "port": 0}, live=True)
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber, running:
        assert running.sink_threads["out"].wait_until_open(5)
        subscriber.connect(running.sink_threads["out"].endpoint)
        subscriber.subscribe(b"pose")
        assert subscriber.poll(20_000)
        assert decode(subscriber.recv())["smpl_joints"].shape == (5, 24, 3)


def test_ros_2_shows_the_person(domain: int):
    subscriber = Subscriber(domain, 8.0)
    running = pipeline({"type": "ros2", "domain": domain}, live=True)
    with running:
        assert running.wait(60)
        time.sleep(0.3)
    received = subscriber.messages()
    assert len(received["/tf"][-1].transforms) == 15
    assert received["/tf_static"][0].transforms[0].child_frame_id == "walk_optical_frame"
    assert [len(message.ids) for message in received["/humans/bodies/tracked"]][-1] == 0  # the source ended
    assert [marker.action for marker in received["/poselift/markers"][-1].markers] == [2, 2, 2]
