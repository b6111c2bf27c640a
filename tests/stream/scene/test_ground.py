"""The world's way through a whole pipeline: config, lifter, steps, sinks."""

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
from tests.stream.people import LEFT, RIGHT

WALK = {"type": "synthetic", "pace": "full", "frames": 300, "fps": 25}
LENS = Synthetic(Synthetic.Settings(), ComponentContext("walk")).camera


def config(weights: str, space: dict, sources: dict | None = None, sinks: dict | None = None):
    return resolve(
        {
            "sources": sources or {"walk": WALK},
            "lifter": {"weights": weights, "device": "cpu", "threads": 1},
            "scene": space,
            "sinks": sinks or {"out": {"type": "memory"}},
        }
    )


def sent(pipeline: Pipeline) -> list:
    with pipeline:
        assert pipeline.wait(60)
    assert pipeline.error is None
    return list(pipeline.sink_threads["out"].sink.messages)


def test_the_floor_is_found_told_and_then_stood_on():
    fov_deg = 2 * math.degrees(math.atan(1280 / 2 / LENS.focal_px))
    messages = sent(Pipeline(config("small", {"world": {"floor": "auto"}, "fov_deg": fov_deg})))
    first = next(n for n, each in enumerate(messages) if getattr(each, "frame_id", "") == "walk_world")
    told = messages[first]  # before the first pose over it
    assert isinstance(told, Meta)
    assert (told.extrinsics.status, told.intrinsics.status) == ("estimated", "assumed")
    up = told.extrinsics.matrix()[2]
    assert math.degrees(math.acos(up @ LENS.rotation[:, 2])) < 4
    assert told.extrinsics.pos[2] == pytest.approx(LENS.position_m[2], rel=0.15)
    named = [each.frame_id for each in messages if isinstance(each, PoseFrame)]
    begun = named.index("walk_world")
    assert named == ["walk_optical_frame"] * begun + ["walk_world"] * (300 - begun)
    people = [each.persons[0] for each in messages[first:] if isinstance(each, PoseFrame)]
    joints = np.array([person.root + person.xyz for person in people])
    assert np.abs(joints[:, [LEFT, RIGHT], 2].min(axis=1) - 0.085).mean() < 0.1
    assert (joints[:, 10, 2] - joints[:, [LEFT, RIGHT], 2].min(axis=1) > 1.3).all()
    assert {person.contact.left for person in people} == {True, False}


def test_a_camera_whose_pose_is_given_tells_it_from_the_first_meta_on(tiny_weights: Path):
    pose = {"position_m": list(LENS.position_m), "looks_at_m": list(LENS.looks_at_m)}
    sources = {"walk": WALK | {"frames": 20}, "other": WALK | {"frames": 20}}
    space = {"world": {"camera_pose": {"walk": pose}}}
    messages = sent(Pipeline(config(str(tiny_weights), space, sources)))
    frames = {(each.header.source, each.frame_id) for each in messages if isinstance(each, PoseFrame)}
    assert frames == {("walk", "world"), ("other", "other_optical_frame")}
    metas = {each.source: each for each in messages if isinstance(each, Meta)}
    assert (metas["walk"].frame_id, metas["other"].frame_id) == ("world", "other_optical_frame")
    assert metas["walk"].extrinsics.pos == LENS.position_m
    np.testing.assert_allclose(metas["walk"].extrinsics.matrix().T, LENS.rotation, atol=1e-9)
    assert metas["other"].extrinsics is None


def test_a_subscriber_gets_frames_and_feet():
    pose = {"position_m": list(LENS.position_m), "looks_at_m": list(LENS.looks_at_m)}
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


def test_a_pose_of_a_camera_that_is_not_there_is_refused():
    pose = {"position_m": [0, 0, 1.4], "rpy_deg": [0, 10, 0]}
    images = {"type": "opencv", "url": 0}
    with pytest.raises(ConfigError, match=r"scene\.world\.camera_pose: 'cam1' is not one of cam0"):
        config("small", {"world": {"camera_pose": {"cam1": pose}}}, {"cam0": images})


def test_a_world_without_places_of_people_is_refused():
    with pytest.raises(ConfigError, match=r"scene\.world needs scene\.enabled"):
        config("small", {"world": {"floor": "auto"}, "enabled": False})
