"""What a config that is read again changes in a running one."""

from typing import Any

from stream.config.difference import Difference, difference
from stream.config.load import resolve

INTRINSICS = {"fx": 900.0, "fy": 900.0, "cx": 320.0, "cy": 240.0, "size_wh": [640, 480]}


def config(sources: dict[str, Any], **sections: Any):
    return resolve({"sources": sources, "sinks": {"poses": {"type": "memory"}}, **sections})


def camera(url: str) -> dict[str, Any]:
    return {"type": "opencv", "url": url}


def names(change: Difference) -> tuple[tuple[str, ...], ...]:
    return change.added, change.removed, change.changed, change.fixed


def test_sources_are_added_removed_and_changed():
    running = config({"a": camera("/dev/video0"), "b": camera("/dev/video1"), "c": camera("/dev/video2")})
    wanted = config({"c": camera("/dev/video9"), "d": camera("/dev/video1"), "a": camera("/dev/video0")})
    change = difference(running, wanted)
    assert names(change) == (("d",), ("b",), ("c",), ())
    assert change.config.sources == wanted.sources
    assert str(change) == "added d; removed b; opened again c"
    assert str(difference(running, running)) == "no source has changed"


def test_a_camera_with_another_calibration_or_pose_has_changed():
    sources = {"a": camera("/dev/video0"), "b": camera("/dev/video1"), "c": camera("/dev/video2")}
    pose = {"position_m": [0, 0, 2], "rpy_deg": [0, 20, 0]}
    scene = {"cameras": {"a": INTRINSICS}, "world": {"camera_pose": {"b": pose}}}
    change = difference(config(sources), config(sources, scene=scene))
    assert names(change) == ((), (), ("a", "b"), ())
    assert (list(change.config.scene.cameras), list(change.config.scene.world.camera_pose)) == (["a"], ["b"])
    back = difference(change.config, config({"a": camera("/dev/video0")}, scene=scene | {"world": {}}))
    assert names(back) == ((), ("b", "c"), (), ())
    assert back.config.scene.world.camera_pose == {}


def test_settings_that_cannot_change_are_named_and_stay():
    sources = {"a": {"type": "keypoints_zmq"}}
    wanted = resolve(
        {
            "node": "other",
            "sources": sources,
            "lifter": {"hop": 3},
            "scene": {"cameras": {"behind_a": INTRINSICS}},
            "sinks": {"poses": {"type": "memory"}, "more": {"type": "console"}},
            "status_s": 1,
        }
    )
    running = config(sources)
    change = difference(running, wanted)
    fixed = ("node", "lifter.hop", "scene.cameras.behind_a", "sinks.more", "status_s")
    assert names(change) == ((), (), (), fixed)
    assert change.config == running


def test_a_source_with_another_place_in_the_cluster_has_changed():
    sources = {"a": camera("/dev/video0"), "b": camera("/dev/video1")}
    running, wanted = (config(sources, cluster={"near": {"a": "hall", "b": place}}) for place in ("x", "y"))
    change = difference(running, wanted)
    assert names(change) == ((), (), ("b",), ())
    assert change.config.cluster.near == {"a": "hall", "b": "y"}
    spares = config(sources, cluster={"near": {"a": "hall", "b": "x"}, "spares": 2})
    assert names(difference(running, spares)) == ((), (), (), ("cluster.spares",))
