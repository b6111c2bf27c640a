"""Configs: packaged ones, defaults, changes, and errors that suggest what to type instead."""

from pathlib import Path

import pytest

from stream.config.load import CONFIGS, load, resolve
from stream.errors import ConfigError
from stream.files.strict_yaml import parse
from stream.windows.resample import Timing

CAMERA = {"size_wh": [1280, 720], "fx": 900.0, "fy": 900.0, "cx": 640.0, "cy": 360.0}
SMALL = {"sources": {"walk": {"type": "synthetic"}}, "sinks": {"log": {"type": "console"}}}


def changed(*changes: str, **tree) -> dict:
    return resolve({**SMALL, **tree}, changes).to_dict()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_packaged_config_resolves(path: Path):
    config = load(path)
    assert config.sources
    assert config.sinks
    assert resolve(config.to_dict()).to_dict() == config.to_dict()  # the output of `check` is itself a config


def test_a_packaged_config_is_found_by_its_name():
    assert load("synthetic").to_dict() == load(CONFIGS / "synthetic.yaml").to_dict()


def test_defaults_are_filled_in():
    plain = changed()
    assert plain["sources"]["walk"]["fps"] == 50.0
    assert plain["lifter"]["hop"] == "auto"
    assert (plain["node"], plain["status_s"]) == ("poselift", 5.0)


def test_a_change_sets_a_nested_value():
    plain = changed("sources.walk.fps=25", "lifter.lag=4", "node=kitchen")
    assert (plain["sources"]["walk"]["fps"], plain["lifter"]["lag"], plain["node"]) == (25.0, 4, "kitchen")


def test_source_in_a_change_means_the_only_source():
    assert changed("source.fps=25")["sources"]["walk"]["fps"] == 25.0


def test_sink_in_a_change_is_refused_with_several_sinks():
    with pytest.raises(ConfigError, match=r"has 2 sinks \(a, b\); name one: sinks.NAME.port=1"):
        changed("sink.port=1", sinks={"a": {"type": "zeromq"}, "b": {"type": "zeromq"}})


def test_a_source_of_images_gets_a_detector():
    plain = changed(sources={"cam": {"type": "opencv", "url": 0}})
    assert plain["sources"]["cam"]["detector"]["type"] == "mediapipe"


def test_a_setting_of_the_detector_needs_no_type():
    plain = changed("source.detector.variant=lite", sources={"cam": {"type": "opencv", "url": 0}})
    assert (plain["sources"]["cam"]["detector"]["type"], plain["sources"]["cam"]["detector"]["variant"]) == (
        "mediapipe",
        "lite",
    )


def test_a_list_written_without_brackets_is_refused_with_an_example():
    with pytest.raises(
        ConfigError, match=r"got `str` \(at size_wh\); write a list in brackets, such as \[640,480"
    ):
        changed("source.size_wh=640,480", sources={"array": {"type": "recording"}})


def test_passwords_in_urls_are_not_shown():
    plain = changed(sources={"cam": {"type": "opencv", "url": "rtsp://me:secret@10.0.0.1/x"}})
    assert plain["sources"]["cam"]["url"] == "rtsp://me:***@10.0.0.1/x"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"sources": {"walk": {"type": "synthetik"}}}, "sources.walk.type: .* did you mean 'synthetic'"),
        (
            {"sources": {"walk": {"type": "synthetic", "pfs": 3}}},
            "'pfs' is not one of .*; did you mean 'fps'",
        ),
        (
            {"sources": {"walk": {"type": "synthetic", "fps": "fast"}}},
            r"Expected `float`, got `str` \(at fps\)",
        ),
        ({"sources": {"walk": {"type": "synthetic", "fps": -1}}}, "sources.walk: .*fps.*-1"),
        ({"sources": {"a/b": {"type": "synthetic"}}}, "expected a name of letters"),
        ({"sources": {}}, "sources: expected at least one, for example"),
        ({"sources": ["synthetic"]}, "sources: expected `key: value` lines"),
        ({"sinks": {"x": {}}}, "sinks.x.type: expected one of zeromq"),
        ({"lifter": {"hop": 0}}, "lifter.hop: expected a number of frames from 1, or auto, got 0"),
        ({"lifter": {"blend": -1}}, "lifter.blend: expected a number of frames from 0, or auto, got -1"),
        ({"scene": {"world": {"floor": "find"}}}, r"'find' \(at world.floor\); expected auto or null$"),
        (
            {"scene": {"world": {"flor": "auto"}}},
            r"`flor` \(at world\); expected keys among .*; did you mean 'floor'\?$",
        ),
        (
            {"scene": {"world": "auto"}},
            r"got `str` \(at world\); expected keys among camera_pose, floor, pat",
        ),
        (
            {"scene": {"world": {"camera_pose": {"cam0": {"position": [0, 0, 1]}}}}},
            r"\(at world.camera_pose\[...\]\); expected keys among .*; did you mean 'position_m'\?$",
        ),
        (
            {"scene": {"world": {"camera_pose": {"cam0": {"position_m": [0, 0, 1]}}}}},
            "expected rpy_deg, or looks_at_m with or without roll_deg, got neither$",
        ),
        ({"smoothing": {"one_euro": True}}, r"\(at one_euro\); expected keys among min_cutoff_hz, "),
        ({"scene": {"cameras": [1]}}, r"scene: Expected `object`, got `array` \(at cameras\)$"),
        ({"lifter": {"hop": "often"}}, r"Invalid enum value 'often' \(at hop\); expected a number or auto$"),
        (
            {"lifter": {"resample": 0}},
            "lifter.resample: expected 1 to 1000 frames per second, auto or native",
        ),
        ({"lifter": {"resample": "nativ"}}, r"Invalid enum value 'nativ' \(at resample\)"),
        (
            {"lifter": {"output": "steady"}},
            r"Invalid enum value 'steady' \(at output\); expected captured or grid",
        ),
        ({"lifter": {"dtype": "float64"}}, "float64"),
        ({"lift": {}}, "'lift' is not one of .*; did you mean 'lifter'"),
        ({"status_s": 0}, "status_s"),
        (
            {"workers": 0},
            "workers: expected 1 to 1, the number of sources, .*auto, or .min: 1, max: 1., got 0",
        ),
        ({"workers": 2}, "workers: expected 1 to 1, .*, got 2"),
        ({"workers": "many"}, r"workers: expected 1 to 1, .*, auto, or {min: 1, max: 1}, got 'many'"),
        ({"status_s": float("nan")}, "status_s"),
        ({"lifter": False}, "lifter: expected `key: value` lines, got False"),
        ({"lifter": {"predict_s": float("nan")}}, "lifter.predict_s: expected a number, got nan"),
        ({"lifter": {"threads": 100_000}}, "lifter.threads: expected 1 to 256"),
        ({"lifter": {"dtype": "double"}}, "; expected float32 or tf32 or bfloat16 or float16"),
        ({"sources": {"walk": {"type": ["synthetic"]}}}, "sources.walk.type: expected one of"),
        ({"sources": {"walk": "rtsp://me:secret@host/"}}, r"got 'rtsp://me:\*\*\*@host/'"),
        ({"scene": {"height": 1.8}}, "scene: 'height' is not one of .*; did you mean 'height_m'"),
        ({"scene": {"height_m": 180}}, "scene.height_m: expected 0.4 to 2.6 metres, or null, got 180"),
        ({"scene": {"cameras": {"cam0": {**CAMERA, "fx": 0}}}}, "scene: expected size_wh, fx and fy .*fx 0"),
        ({"scene": {"cameras": {"cam0": {"fx": 900}}}}, "scene: .*required field `size_wh`.*cameras"),
        (
            {"sources": {"cam": {"type": "opencv"}}, "scene": {"cameras": {"cam0": CAMERA}}},
            "scene.cameras: 'cam0' is not one of cam; did you mean 'cam'",
        ),
    ],
)
def test_the_error_of_a_mistake_suggests_what_to_type_instead(tree: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        changed(**tree)


@pytest.mark.parametrize("change", ["lag", "=3", "lifter.lag=[", "node.x=1"])
def test_an_invalid_change_is_refused(change: str):
    with pytest.raises(ConfigError, match=r"--set|node"):
        changed(change)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "3", "\x00"])
def test_a_file_that_is_not_a_config_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(path)


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("2E4", 2e4), ("1.5e2", 150.0), ("1e", "1e")])
def test_a_number_may_have_an_exponent_without_a_dot(text: str, value: object) -> None:
    assert parse(text, "here") == value
    assert type(parse(text, "here")) is type(value)


def test_a_repeated_key_is_refused(tmp_path: Path):
    path = tmp_path / "twice.yaml"
    path.write_text("sources:\n  walk: {type: synthetic}\n  walk: {type: recording}\n")
    with pytest.raises(ConfigError, match=r"(?s)the key 'walk' is repeated, first in line 2.*line 3"):
        load(path)


def test_a_key_may_override_a_merged_key(tmp_path: Path):
    path = tmp_path / "merged.yaml"
    path.write_text(
        "sources:\n  a: &a {type: synthetic, fps: 25}\n  b: {<<: *a, fps: 30}\nsinks: {c: {type: console}}\n"
    )
    assert {name: source.settings.fps for name, source in load(path).sources.items()} == {"a": 25, "b": 30}


def test_a_source_and_a_sink_of_the_same_name_are_refused():
    tree = {"sources": {"mqtt": {"type": "synthetic"}}, "sinks": {"mqtt": {"type": "console"}}}
    with pytest.raises(ConfigError, match=r"sinks.mqtt: a source is called 'mqtt' too"):
        resolve(tree)


def test_the_error_of_a_missing_file_lists_the_packaged_configs():
    with pytest.raises(ConfigError, match=r"webkam: no such file.*did you mean 'webcam'.*packaged: "):
        load("webkam")


def test_cameras_behind_a_source_of_keypoints_may_have_any_name():
    scene = {"cameras": {"garden": CAMERA}}
    assert changed(scene=scene)["scene"]["cameras"]["garden"]["fx"] == 900.0


@pytest.mark.parametrize(
    ("settings", "timing"),
    [
        ({}, Timing(window_step_ns=20_000_000)),
        ({"resample": 30}, Timing(window_step_ns=33_333_333)),
        ({"resample": "native"}, Timing()),
        ({"output": "grid"}, Timing(window_step_ns=20_000_000, output_step_ns=20_000_000)),
        ({"output": "grid", "resample": 100}, Timing(window_step_ns=10_000_000, output_step_ns=10_000_000)),
        ({"output": "grid", "resample": "native"}, Timing(output_step_ns=20_000_000)),
    ],
)
def test_windows_and_poses_have_the_rate_of_the_weights_by_default(settings: dict, timing: Timing):
    assert resolve({**SMALL, "lifter": settings}).lifter.timing(50.0) == timing
