"""Workers as users run them: real processes that are killed, frozen and replaced under load."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.config.load import resolve
from stream.runtime.worker_process import worker_count
from tests.stream.running_node import CAMERAS, WAIT_S, Node, check_takeover, is_running


def test_auto_uses_all_cores_but_one_and_no_more_workers_than_sources(monkeypatch):
    config = resolve(
        {
            "workers": "auto",
            "sources": {name: {"type": "synthetic"} for name in CAMERAS},
            "sinks": {"memory": {"type": "memory"}},
        }
    )
    counts = []
    for cores in (1, 2, 4, 16):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        counts.append(worker_count(config))
    assert counts == [1, 1, 3, 4]


@pytest.fixture
def node(tiny_weights: Path, tmp_path: Path) -> Iterator[Node]:
    node = Node(tiny_weights, tmp_path)
    yield node
    node.close()


def test_a_killed_worker_is_replaced_and_its_people_are_lost_once(node: Node):
    check_takeover(node, "cam0", lambda pid: os.kill(pid, signal.SIGKILL))
    node.process.send_signal(signal.SIGINT)
    output = node.wait_for_end()
    assert node.process.returncode == 0, output
    assert "ended with exit code -9; another worker takes its place" in output
    node.wait_for(lambda: node.report["counters"].get("workers.replaced") == 1)


def test_a_frozen_worker_is_replaced_and_publishes_nothing_when_it_goes_on(node: Node):
    def freeze(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(4.0, resume, [pid]).start()

    def resume(pid: int) -> None:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            resumed.append("had been killed")

    resumed: list[str] = []
    check_takeover(node, "cam1", freeze)
    node.wait_for(lambda: resumed)
    assert node.wait_for(lambda: node.report["counters"].get("workers.replaced")) == 1


def test_workers_end_by_themselves_when_the_supervisor_is_killed(node: Node):
    pids = node.wait_for(lambda: node.has_spare() and {node.worker_of(name) for name in CAMERAS} - {None})
    node.process.kill()
    node.process.wait()
    for pid in pids:
        node.wait_for(lambda pid=pid: not is_running(pid))


def test_a_mistake_that_only_a_worker_notices_ends_the_node(tmp_path: Path):
    config = tmp_path / "wrong.yaml"
    sources = "a: {type: synthetic, pace: full}, b: {type: synthetic}"
    config.write_text(f"workers: 2\nsources: {{{sources}}}\nsinks: {{console: {{type: console}}}}\n")
    command = [sys.executable, "-m", "stream.cli", "run", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 2
    assert "workers: expected live sources, got the recording a" in done.stderr


def test_a_node_ends_when_all_sources_have_ended(tiny_weights: Path, tmp_path: Path):
    config = tmp_path / "short.yaml"
    sources = "a: {type: synthetic, frames: 20}, b: {type: synthetic, frames: 20}"
    config.write_text(
        f"workers: 2\nsources: {{{sources}}}\nlifter: {{weights: {tiny_weights}}}\n"
        f"sinks: {{file: {{type: jsonl, path: {tmp_path}/poses.jsonl}}}}\n"
    )
    command = [sys.executable, "-m", "stream.cli", "run", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "poses.jsonl").read_text().splitlines()
    assert {source: sum(f'"source":"{source}"' in line for line in lines) for source in "ab"}
