"""World frames in a whole pipeline: config, lifter, post-processors, sinks."""

import math
from pathlib import Path

import numpy as np
import pytest

from sources.synthetic import Synthetic
from stream import subscribe
from stream.config.load import resolve
from stream.errors import ConfigError
from stream.messages import Meta, PoseFrame
from stream.protocols import ComponentContext
from stream.runtime.pipeline import Pipeline
from tests.stream.people import HEAD_TOP, LEFT_ANKLE, RIGHT_ANKLE

WALK = {"type": "synthetic", "pace": "full", "frames": 300, "fps": 25}
CAMERA = Synthetic(Synthetic.Settings(), ComponentContext("walk")).camera


def config(weights: str, scene: dict, sources: dict | None = None, sinks: dict | None = None):
    return resolve(
        {
            "sources": sources or {"walk": WALK},
            "lifter": {"weights": weights, "device": "cpu", "threads": 1},
            "scene": scene,
            "sinks": sinks or {"out": {"type": "memory"}},
        }
    )


def sent(pipeline: Pipeline) -> list:
    with pipeline:
        assert pipeline.wait(60)
    assert pipeline.error is None
    return list(pipeline.sink_threads["out"].sink.messages)


def test_the_floor_is_found_and_published_before_the_first_pose_on_it():
    fov_deg = 2 * math.degrees(math.atan(1280 / 2 / CAMERA.focal_px))
    messages = sent(Pipeline(config("small", {"world": {"floor": "auto"}, "fov_deg": fov_deg})))
    first = next(n for n, message in enumerate(messages) if getattr(message, "frame_id", "") == "walk_world")
    meta = messages[first]
    assert isinstance(meta, Meta)
    assert (meta.extrinsics.status, meta.intrinsics.status) == ("estimated", "assumed")
    up = meta.extrinsics.matrix()[2]
    assert math.degrees(math.acos(up @ CAMERA.rotation[:, 2])) < 4
    assert meta.extrinsics.pos[2] == pytest.approx(CAMERA.position_m[2], rel=0.15)
    frame_ids = [message.frame_id for message in messages if isinstance(message, PoseFrame)]
    start = frame_ids.index("walk_world")
    assert frame_ids == ["walk_optical_frame"] * start + ["walk_world"] * (300 - start)
    people = [message.persons[0] for message in messages[first:] if isinstance(message, PoseFrame)]
    joints = np.array([person.root + person.xyz for person in people])
    lowest_ankle_m = joints[:, [LEFT_ANKLE, RIGHT_ANKLE], 2].min(axis=1)
    assert np.abs(lowest_ankle_m - 0.085).mean() < 0.1
    assert (joints[:, HEAD_TOP, 2] - lowest_ankle_m > 1.3).all()
    assert {person.contact.left for person in people} == {True, False}


def test_a_given_camera_pose_is_in_the_meta_and_puts_poses_into_the_world(tiny_weights: Path):
    pose = {"position_m": list(CAMERA.position_m), "looks_at_m": list(CAMERA.looks_at_m)}
    sources = {"walk": WALK | {"frames": 20}, "other": WALK | {"frames": 20}}
    scene = {"world": {"camera_pose": {"walk": pose}}}
    messages = sent(Pipeline(config(str(tiny_weights), scene, sources)))
    frames = {(m.header.source, m.frame_id) for m in messages if isinstance(m, PoseFrame)}
    assert frames == {("walk", "world"), ("other", "other_optical_frame")}
    metas = {m.source: m for m in messages if isinstance(m, Meta)}
    assert (metas["walk"].frame_id, metas["other"].frame_id) == ("world", "other_optical_frame")
    assert metas["walk"].extrinsics.pos == CAMERA.position_m
    np.testing.assert_allclose(metas["walk"].extrinsics.matrix().T, CAMERA.rotation, atol=1e-9)
    assert metas["other"].extrinsics is None


def test_a_subscriber_receives_world_frames_and_contacts():
    pose = {"position_m": list(CAMERA.position_m), "looks_at_m": list(CAMERA.looks_at_m)}
    settings = config(
        "small",
        {"world": {"camera_pose": {"walk": pose}}},
        {"walk": {"type": "synthetic", "fps": 50}},
        {"out": {"type": "zeromq", "port": 0}},
    )
    with Pipeline(settings) as pipeline:
        assert pipeline.sink_threads["out"].wait_until_open(10)
        poses = subscribe(pipeline.sink_threads["out"].sink.endpoint, timeout_s=30)
        frame = next(frame for frame in poses if frame.persons and frame.persons[0].contact is not None)
        poses.close()
    assert frame.frame_id == "world"
    assert 0.5 < frame.persons[0].root[2] < 1.3
    assert {frame.persons[0].contact.left, frame.persons[0].contact.right} & {True, False}


def test_a_camera_pose_of_an_unknown_source_is_refused():
    pose = {"position_m": [0, 0, 1.4], "rpy_deg": [0, 10, 0]}
    images = {"type": "opencv", "url": 0}
    with pytest.raises(ConfigError, match=r"scene\.world\.camera_pose: 'cam1' is not one of cam0"):
        config("small", {"world": {"camera_pose": {"cam1": pose}}}, {"cam0": images})


def test_a_world_without_root_positions_is_refused():
    with pytest.raises(ConfigError, match=r"scene\.world needs scene\.enabled"):
        config("small", {"world": {"floor": "auto"}, "enabled": False})
