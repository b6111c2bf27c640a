"""Unusual input for every sink: crowds, no person, missing joints, strange ids, lost receivers."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sinks import SINKS
from stream.clock import FakeClock
from stream.config.load import import_component
from stream.health import Health
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, Sink, opened
from tests.conftest import Mosquitto
from tests.rig_examples import dance, joints, pose_frames
from tests.sinks.listeners import Listener, captured, listening, wait_until

FILES = {"bvh": "x.bvh", "gltf": "x.glb", "mcap": "x.mcap", "jsonl": "x.jsonl", "npz": "x.npz"}
PORTS = ("zeromq", "sonic", "prometheus", "browser")  # sinks that listen at a port
KINDS = sorted(SINKS)


def sink(kind: str, folder: Path, domain: int) -> Sink:
    make = import_component(SINKS[kind])
    settings: dict[str, object] = {"path": str(folder / FILES[kind])} if kind in FILES else {}
    settings |= {"ros2": {"domain": domain}, "vmc": {"port": 39000}, "mqtt": {"port": 9}}.get(kind, {})
    settings |= {"port": 0} if kind in PORTS else {}
    return make(make.Settings(**settings), ComponentContext(kind, clock=FakeClock(), health=Health()))


def send(kind: str, folder: Path, domain: int, frames: Iterable[PoseFrame]) -> None:
    with opened(sink(kind, folder, domain)) as one:
        for frame in frames:
            one.send(frame)


def crowd(ids: list[str], frames: list[np.ndarray]) -> list[PoseFrame]:
    """Frames with a person of each id."""
    people = [pose_frames(frames, id) for id in ids]
    return [
        replace(same_time[0], persons=tuple(person for frame in same_time for person in frame.persons))
        for same_time in zip(*people, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_no_person(kind: str, tmp_path: Path, domain: int):
    send(kind, tmp_path, domain, [replace(frame, persons=()) for frame in pose_frames(dance(0.2))])
    files = [path.name for path in tmp_path.iterdir()]
    assert files == ([FILES[kind]] if kind in ("mcap", "jsonl", "npz") else [])


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_people(kind: str, tmp_path: Path, domain: int):
    send(kind, tmp_path, domain, crowd([f"p{n:04}" for n in range(20)], dance(0.2)))
    assert len(list(tmp_path.iterdir())) == {"bvh": 20, "gltf": 20}.get(kind, int(kind in FILES))


@pytest.mark.parametrize("kind", KINDS)
def test_missing_joints(kind: str, tmp_path: Path, domain: int):
    whole, cut = joints(), joints()
    cut[[3, 13, 16]] = np.nan
    frames = []
    for frame in pose_frames([whole, cut, cut, whole]):
        (person,) = frame.persons
        origin = np.isfinite(person.xyz).all(axis=1).astype(np.uint8)
        person = replace(person, origin=origin, score=origin.astype(np.float32))
        frames.append(replace(frame, persons=(person,)))
    send(kind, tmp_path, domain, frames)
    if kind in ("bvh", "gltf"):
        assert b"nan" not in next(tmp_path.iterdir()).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_no_root(kind: str, tmp_path: Path, domain: int):
    send(kind, tmp_path, domain, pose_frames(dance(0.2), root=None))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", [["robot/../1", "x" * 200], ["", "ü\n"], ["a", "A"]])
def test_ids_given_by_senders(kind: str, tmp_path: Path, domain: int, ids: list[str]):
    send(kind, tmp_path, domain, crowd(ids, dance(0.2)))
    assert len(list(tmp_path.iterdir())) == {"bvh": 2, "gltf": 2}.get(kind, int(kind in FILES))


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_that_comes_and_goes(kind: str, tmp_path: Path, domain: int):
    frames = []
    for stay in range(5):
        for frame in pose_frames([joints()] * 3, "a", lost_after=True):
            captured_ns = frame.header.captured_unix_ns + stay * 10**9
            header = replace(frame.header, captured_unix_ns=captured_ns)
            frames.append(replace(frame, header=header))
    send(kind, tmp_path, domain, frames)
    assert len(list(tmp_path.iterdir())) == {"bvh": 5, "gltf": 5}.get(kind, int(kind in FILES))


@pytest.mark.parametrize("kind", KINDS)
def test_poses_that_change_from_a_camera_to_a_world(kind: str, tmp_path: Path, domain: int):
    before, after = pose_frames(dance(0.4)), pose_frames(dance(0.4), frame_id="world")
    send(kind, tmp_path, domain, [*before[:10], *after[10:]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sink_can_be_opened_again(kind: str, tmp_path: Path, domain: int):
    reopened = sink(kind, tmp_path, domain)
    for _ in range(2):
        with opened(reopened):
            for frame in pose_frames(dance(0.2)):
                reopened.send(frame)
        reopened.close()  # closing a closed sink is harmless


@pytest.mark.parametrize("kind", ["mqtt", "ros2", "sonic", "vmc", "zeromq"])
def test_a_receiver_may_come_late_and_come_back(kind: str, mosquitto: Mosquitto, domain: int):
    frames = pose_frames([joints()] * 10, "a3f9k")
    with listening(kind, mosquitto, domain) as (live, make_listener):

        def send_all() -> None:
            for frame in frames:
                live.send(captured(frame, 0.0))
                time.sleep(0.01)

        for _ in range(2):
            send_all()  # to no receiver
            with ExitStack() as stack:
                listener = make_listener(stack)

                def hears_a_pose(listener: Listener = listener) -> bool:
                    send_all()
                    return "pose" in listener.words()

                wait_until(hears_a_pose)
