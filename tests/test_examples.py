"""The programs in examples/ run as a newcomer starts them. tests/test_readme.py runs send_keypoints.py."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from PIL import Image

from tests.programs import ROOT, next_line, started

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MIN_LINES, MAX_LINES = 20, 40


@pytest.fixture
def endpoint() -> str:
    """An address on this machine with a free port."""
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        return f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


@pytest.fixture
def node(endpoint: str, tiny_weights: Path) -> Iterator[subprocess.Popen[str]]:
    """A running `poselift run synthetic`, which publishes the poses of two people at `endpoint`."""
    changes = (f"lifter.weights={tiny_weights}", f"sinks.zeromq.port={endpoint.rpartition(':')[2]}")
    options = [part for change in changes for part in ("--set", change)]
    with started("-m", "stream.cli", "run", "synthetic", *options) as process:
        yield process


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_short_and_names_its_command(path: Path) -> None:
    text = path.read_text()
    assert MIN_LINES <= len(text.splitlines()) <= MAX_LINES
    assert f"    python examples/{path.name}" in text


@pytest.mark.timeout(120)
def test_the_elbow_angle_of_every_person_is_printed(endpoint: str, node: subprocess.Popen[str]) -> None:
    with started("examples/elbow_angle.py", endpoint) as example:
        lines = [next_line(example).split() for _ in range(20)]
    assert len({words[0] for words in lines}) == 2  # ids of two people
    assert all(0 <= int(words[1]) <= 180 and words[2] == "degrees" for words in lines)


@pytest.mark.timeout(120)
def test_a_recording_is_saved_and_plotted(endpoint: str, node: subprocess.Popen[str], tmp_path: Path) -> None:
    next_line(node)  # the node is ready
    with started("examples/record_and_plot.py", endpoint, "1", str(tmp_path)) as example:
        assert "poses in" in next_line(example)
    with np.load(tmp_path / "walk.npz") as data:
        assert len(np.unique(data["id"])) == 2
        assert data["xyz"].shape == (len(data["id"]), 17, 3)
    with Image.open(tmp_path / "walk.png") as plot:
        assert plot.size == (800, 400)


@pytest.mark.timeout(120)
def test_the_robot_follows_a_person_and_stops_when_the_node_ends(
    endpoint: str, node: subprocess.Popen[str]
) -> None:
    with started("examples/stop_robot.py", endpoint) as example:
        while not next_line(example).startswith("follow"):
            assert example.poll() is None
        node.kill()
        while next_line(example) != "stop":
            assert example.poll() is None
        assert [next_line(example) for _ in range(2)] == ["stop", "stop"]
