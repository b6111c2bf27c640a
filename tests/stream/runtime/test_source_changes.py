"""Sources that are opened and closed while a pipeline runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.config.load import Config, resolve
from stream.errors import ConfigError
from stream.messages import PoseFrame, Status
from stream.runtime.pipeline import Pipeline

WAIT_S = 60.0
POSE = {"position_m": [0, 0, 2], "rpy_deg": [0, 20, 0]}
CALIBRATION_4_3 = {"fx": 900.0, "fy": 900.0, "cx": 320.0, "cy": 240.0, "size_wh": [640, 480]}


def config(weights: Path, sources: dict[str, dict[str, Any]], **scene: Any) -> Config:
    """A config with synthetic sources of these settings."""
    return resolve(
        {
            "sources": {name: {"type": "synthetic", **settings} for name, settings in sources.items()},
            "lifter": {"weights": str(weights), "device": "cpu", "threads": 1, "max_age_ms": None},
            "scene": scene,
            "sinks": {"out": {"type": "memory"}},
        }
    )


def messages(pipeline: Pipeline) -> list[Any]:
    sink: Any = pipeline.sink_threads["out"].sink
    return list(sink.messages) if sink else []


def frames(pipeline: Pipeline, source: str) -> list[PoseFrame]:
    return [m for m in messages(pipeline) if isinstance(m, PoseFrame) and m.header.source == source]


def wait_until(condition: Callable[[], Any]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def wait_for_more(pipeline: Pipeline, source: str) -> None:
    before = len(frames(pipeline, source))
    wait_until(lambda: len(frames(pipeline, source)) > before + 3)


def test_the_only_source_is_replaced_by_another_one_and_the_run_goes_on(tiny_weights: Path):
    with Pipeline(config(tiny_weights, {"a": {}})) as pipeline:
        wait_for_more(pipeline, "a")
        pipeline.change_sources(config(tiny_weights, {"b": {}}))
        wait_for_more(pipeline, "b")
        wait_until(lambda: len(pipeline.source_threads) == 1)
        pipeline.announce()
        assert [source.name for source in pipeline.source_threads] == ["b"]
        assert not pipeline.wait(0)
    states = [message.report["states"] for message in messages(pipeline) if isinstance(message, Status)]
    assert [state["a"]["state"] for state in states if "a" in state] == ["removed"]
    report = pipeline.health.report()
    assert "a" not in report["states"]
    assert report["counters"]["removed.frames"] == len({f.header.seq for f in frames(pipeline, "a")})


def test_a_changed_source_is_opened_again_and_its_numbers_go_on(tiny_weights: Path):
    with Pipeline(config(tiny_weights, {"a": {}, "b": {}})) as pipeline:
        wait_for_more(pipeline, "a")
        pipeline.change_sources(config(tiny_weights, {"a": {"persons": 2}, "b": {}}))
        wait_until(lambda: len(frames(pipeline, "a")[-1].persons) == 2)
        wait_for_more(pipeline, "b")
    seqs = [frame.header.seq for frame in frames(pipeline, "a")]
    assert sorted(seqs) == seqs
    lost = [frame for frame in frames(pipeline, "a") if any(p.state == "lost" for p in frame.persons)]
    assert len(lost) == 1
    seqs = [frame.header.seq for frame in frames(pipeline, "b")]
    assert seqs == list(range(len(seqs)))


def test_a_camera_pose_holds_for_the_camera_that_is_added_with_it(tiny_weights: Path):
    with Pipeline(config(tiny_weights, {"a": {}})) as pipeline:
        wait_for_more(pipeline, "a")
        with_pose = config(tiny_weights, {"a": {}, "b": {}}, world={"camera_pose": {"b": POSE}})
        pipeline.change_sources(with_pose)
        wait_for_more(pipeline, "b")
        pipeline.change_sources(config(tiny_weights, {"a": {}, "b": {}}))
        wait_until(lambda: frames(pipeline, "b")[-1].frame_id == "b_optical_frame")
    frame_ids = [frame.frame_id for frame in frames(pipeline, "b")]
    assert frame_ids == sorted(frame_ids, key=["world", "b_optical_frame"].index)
    assert {frame.frame_id for frame in frames(pipeline, "a")} == {"a_optical_frame"}


def test_a_source_that_cannot_be_made_changes_nothing(tiny_weights: Path):
    missing = resolve(
        {
            "sources": {"c": {"type": "synthetic"}, "video": {"type": "opencv", "url": "/nowhere.mp4"}},
            "sinks": {"out": {"type": "memory"}},
        }
    )
    with Pipeline(config(tiny_weights, {"a": {}})) as pipeline:
        with pytest.raises(ConfigError, match="/nowhere"):
            pipeline.change_sources(missing)
        assert [source.name for source in pipeline.source_threads] == ["a"]
        assert list(pipeline.config.sources) == ["a"]
        wait_for_more(pipeline, "a")


def test_an_added_source_that_fails_ends_no_other_one_and_can_be_opened_again(tiny_weights: Path):
    failing = config(tiny_weights, {"a": {}, "b": {}}, cameras={"b": CALIBRATION_4_3})  # images are 16:9
    with Pipeline(config(tiny_weights, {"a": {}})) as pipeline:
        pipeline.change_sources(failing)
        wait_until(lambda: pipeline.health.report()["states"].get("b", {}).get("state") == "failed")
        wait_for_more(pipeline, "a")
        pipeline.change_sources(config(tiny_weights, {"a": {}, "b": {}}))
        wait_for_more(pipeline, "b")
        assert pipeline.error is None


def test_a_run_of_recordings_takes_no_live_source(tiny_weights: Path):
    recording = {"pace": "full", "frames": 2000}
    pipeline = Pipeline(config(tiny_weights, {"a": recording}))
    with pytest.raises(ConfigError, match="takes no live sources"):
        pipeline.change_sources(config(tiny_weights, {"a": recording, "b": {}}))
