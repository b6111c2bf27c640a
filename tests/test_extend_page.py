"""The programs in docs/extend.md run as they are printed there."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stream.config.load import resolve
from stream.errors import ConfigError
from stream.files import poses as pose_files
from stream.runtime.offline import lift
from stream.runtime.pipeline import Pipeline

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "extend.md"
MAX_PROGRAM_LINES = 40
WAIT_S = 30.0


def programs() -> dict[str, str]:
    """The programs of the page by the file name in their first line."""
    blocks = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)
    return dict(blocks)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path that contains all programs of the page."""
    for name, text in programs().items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@contextmanager
def udp_socket() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(WAIT_S)
        yield udp


def config(weights: Path, sources: dict[str, Any], sinks: dict[str, Any]) -> dict[str, Any]:
    lifter = {"weights": str(weights), "device": "cpu", "threads": 1}
    return {"sources": sources, "sinks": sinks, "lifter": lifter, "tracking": {"confirm_frames": 1}}


@pytest.mark.parametrize("name", programs())
def test_every_program_of_the_page_is_short(name: str) -> None:
    lines = programs()[name].rstrip().split("\n")
    assert len(lines) <= MAX_PROGRAM_LINES
    assert max(map(len, lines)) <= 120


def test_the_sink_sends_the_wrists_of_every_person(folder: Path, tiny_weights: Path) -> None:
    with udp_socket() as receiver:
        sink = {"type": "udp_sink:WristsOverUDP", "port": receiver.getsockname()[1]}
        source = {"type": "synthetic", "persons": 2, "frames": 40, "pace": "full"}
        with Pipeline(resolve(config(tiny_weights, {"walk": source}, {"wrists": sink}))) as pipeline:
            assert pipeline.wait(WAIT_S)
            messages = [json.loads(receiver.recv(65536)) for _ in range(40)]
    assert [np.shape(list(message.values())) for message in messages] == [(2, 2, 3)] * 40


def test_the_source_receives_keypoints(folder: Path, tiny_weights: Path) -> None:
    with udp_socket() as free:
        port = free.getsockname()[1]
    person = [[300 + 9 * joint, 100 + 20 * joint, 0.9] for joint in range(17)]
    message = json.dumps({"size_wh": [640, 480], "persons": [person]}).encode()
    sources = {"cam0": {"type": "udp_source:KeypointsOverUDP", "port": port}}
    sinks = {"file": {"type": "jsonl", "path": str(folder / "poses.jsonl")}}
    with udp_socket() as sender, Pipeline(resolve(config(tiny_weights, sources, sinks))) as pipeline:
        end_s = time.monotonic() + WAIT_S
        while pipeline.health.counter("lift", "frames") < 10 and time.monotonic() < end_s:
            sender.sendto(message, ("127.0.0.1", port))
            time.sleep(0.02)
    frames = list(pose_files.read(folder / "poses.jsonl"))
    assert len(frames) >= 10
    assert {frame.header.source for frame in frames} == {"cam0"}
    assert [len(frame.persons) for frame in frames[:10]] == [1] * 10


def test_the_detector_finds_a_bright_figure_in_images(folder: Path, tiny_weights: Path) -> None:
    (folder / "images").mkdir()
    for number in range(12):
        image = np.zeros((240, 320, 3), np.uint8)
        image[40:220, 100 + number : 160 + number] = 255
        cv2.imwrite(str(folder / "images" / f"{number:03}.png"), image)
    detector = {"type": "bright_detector:BrightPerson", "threshold": 100}
    sources = {
        "cam0": {"type": "images", "path": str(folder / "images"), "pace": "full", "detector": detector}
    }
    sinks = {"file": {"type": "jsonl", "path": str(folder / "poses.jsonl")}}
    tree = config(tiny_weights, sources, sinks)
    tree["lifter"]["kp2d"] = True
    assert lift(resolve(tree), lambda frames: None) == 12
    frames = list(pose_files.read(folder / "poses.jsonl"))
    pelvis_px = [frame.persons[0].kp2d[0, :2].tolist() for frame in frames]
    assert np.allclose(pelvis_px, [(129.5 + number, 133.08) for number in range(12)], atol=0.01)


def test_the_smoothing_step_reduces_jitter(folder: Path, tiny_weights: Path) -> None:
    def jitter_m(name: str, *command: str) -> float:
        path = folder / f"{name}.jsonl"
        (folder / "my.yaml").write_text(
            f"sources: {{walk: {{type: synthetic, frames: 60, pace: full}}}}\n"
            f"lifter: {{weights: '{tiny_weights}', threads: 1}}\n"
            f"sinks: {{file: {{type: jsonl, path: '{path}'}}}}\n"
        )
        environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
        subprocess.run([sys.executable, *command], check=True, cwd=ROOT, timeout=120, env=environment)
        poses = [frame.persons[0].xyz for frame in pose_files.read(path) if frame.persons]
        return float(np.linalg.norm(np.diff(poses, 2, axis=0), axis=-1).mean())

    config_path = str(folder / "my.yaml")
    raw_m = jitter_m("raw", "-m", "stream.cli", "run", config_path)
    smooth_m = jitter_m("smooth", str(folder / "median_node.py"), config_path)
    assert 0 < smooth_m < 0.9 * raw_m


def test_a_component_that_cannot_be_imported_is_a_mistake_in_the_config(folder: Path) -> None:
    (folder / "without_settings.py").write_text("class Sink: ...\n")
    for type_name, text in (
        ("no_such_module:Sink", "sinks.mine.type: 'no_such_module:Sink' cannot be imported: No module named"),
        ("udp_sink:Sink", "sinks.mine.type: 'udp_sink:Sink' cannot be imported: module 'udp_sink' has no"),
        ("without_settings:Sink", "sinks.mine.type: expected a class with a msgspec struct `Settings`"),
    ):
        with pytest.raises(ConfigError) as refused:
            resolve({"sources": {"walk": {"type": "synthetic"}}, "sinks": {"mine": {"type": type_name}}})
        assert text in str(refused.value)
