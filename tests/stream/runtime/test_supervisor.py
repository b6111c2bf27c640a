"""Workers as users run them: real processes that are killed, frozen and replaced under load."""

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from stream.config.load import resolve
from stream.runtime.worker_process import worker_count
from tests.stream.runtime.test_service import keypoints

CAMERAS = ["cam0", "cam1", "cam2", "cam3"]
RATE_HZ = 30
WAIT_S = 120.0
CONFIG = """
node: test
workers: {workers}
sources:
{sources}
lifter: # a busy machine must neither lose people nor drop frames
  {{weights: "{weights}", device: cpu, threads: 1, predict_s: 5, max_age_ms: null}}
tracking: {{confirm_frames: 1}}
sinks:
  zeromq: {{type: zeromq, port: {port}, queue: 1000}}
  file: {{type: jsonl, path: "{folder}/poses.jsonl"}}
status_s: 0.5
"""


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


class Node:
    """A `poselift run`, a sender of four cameras, and a record of everything published.

    cameras: those in the config. command: of poselift that starts the node; more: further lines of YAML.
    """

    def __init__(
        self,
        weights: Path,
        folder: Path,
        cameras: Sequence[str] = CAMERAS,
        workers: int = 2,
        command: tuple[str, ...] = ("run",),
        more: str = "",
    ) -> None:
        context = zmq.Context.instance()
        self._sender = context.socket(zmq.PUB)
        self._incoming = f"tcp://127.0.0.1:{self._sender.bind_to_random_port('tcp://127.0.0.1')}"
        with context.socket(zmq.PUB) as probe:
            self._port = probe.bind_to_random_port("tcp://127.0.0.1")
        self._subscriber = context.socket(zmq.SUB)
        self._subscriber.set(zmq.RCVHWM, 0)
        self._subscriber.connect(f"tcp://127.0.0.1:{self._port}")
        self._subscriber.subscribe(b"")
        self._weights, self._folder, self._workers = weights, folder, workers
        self.config = folder / "workers.yaml"
        self.write_config(cameras, more)
        arguments = [sys.executable, "-m", "stream.cli", *command, str(self.config)]
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.poses: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.report: dict[str, Any] = {"states": {}, "counters": {}}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def write_config(self, cameras: Sequence[str], changes: str = "") -> None:
        """Write the config; changes: more lines of YAML."""
        sources = "\n".join(
            f'  {name}: {{type: keypoints_zmq, endpoint: "{self._incoming}", topic: keypoints2d/v1/{name}/}}'
            for name in cameras
        )
        text = CONFIG.format(
            sources=sources,
            weights=self._weights,
            port=self._port,
            folder=self._folder,
            workers=self._workers,
        )
        self.config.write_text(text + changes)

    def _send(self) -> None:
        for seq in range(1_000_000):
            for name in CAMERAS:
                _, payload = keypoints(seq, time.time_ns())
                document = msgpack.unpackb(payload) | {"source": name}
                self._sender.send_multipart([f"keypoints2d/v1/{name}/".encode(), msgpack.packb(document)])
            if self._stop.wait(1 / RATE_HZ):
                return

    def _receive(self) -> None:
        while not self._stop.is_set():
            if self._subscriber.poll(100):
                topic, payload = self._subscriber.recv_multipart()
                if topic.startswith(b"pose3d/"):
                    self.poses.append(msgpack.unpackb(payload) | {"arrived_s": time.monotonic()})
                elif topic == b"status/v1/test/":
                    self.report = msgpack.unpackb(payload)["report"]
                    self.reports.append(self.report)

    def frames(self, source: str) -> list[dict[str, Any]]:
        return [pose for pose in list(self.poses) if pose["source"] == source]

    def session(self, source: str) -> str | None:
        frames = self.frames(source)
        return frames[-1]["session"] if frames else None

    def worker_of(self, source: str) -> int | None:
        """Process id of the running worker that has `source`, as the status message shows it."""
        for state in self.report["states"].values():
            found = re.fullmatch(r"process (\d+)(?: on \S+)?: (.*)", state["detail"])
            if found and state["state"] == "ok" and source in found[2].split(", "):
                return int(found[1])
        return None

    def has_spare(self) -> bool:
        """Whether a replacement is ready."""
        return self.report["states"].get("worker-spare", {"detail": ""})["detail"].endswith(": spare")

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        until_s = time.monotonic() + WAIT_S
        while time.monotonic() < until_s:
            if value := condition():
                return value
            time.sleep(0.02)
        raise AssertionError(f"not in time; report {self.report}")

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.process.kill()
        self.process.wait()
        self._sender.close(0)
        self._subscriber.close(0)


@pytest.fixture
def node(tiny_weights: Path, tmp_path: Path) -> Iterator[Node]:
    node = Node(tiny_weights, tmp_path)
    yield node
    node.close()


def lost_ids(frames: list[dict[str, Any]]) -> list[str]:
    return [person["id"] for frame in frames for person in frame["persons"] if person["state"] == "lost"]


def ids(frames: list[dict[str, Any]]) -> set[str]:
    return {person["id"] for frame in frames for person in frame["persons"]}


def assert_in_order(frames: list[dict[str, Any]]) -> None:
    """No frame twice and none out of order; one run of frames per session."""
    times = [frame["t_capture_ns"] for frame in frames]
    assert times == sorted(set(times))
    sessions = [frame["session"] for frame in frames]
    changes = sum(one != other for one, other in itertools.pairwise(sessions))
    assert changes == len(set(sessions)) - 1


def check_takeover(node: Node, source: str, fail: Callable[[int], None], max_gap_s: float) -> None:
    """Let the worker of `source` fail; its cameras must come back from another worker, the others go on."""
    node.wait_for(lambda: all(node.session(name) for name in CAMERAS) and node.has_spare())
    pid = node.wait_for(lambda: node.worker_of(source))
    before = {name: node.session(name) for name in CAMERAS}
    moved = [name for name in CAMERAS if node.worker_of(name) == pid]
    assert len(moved) == 2
    fail(pid)
    node.wait_for(lambda: all(node.session(name) != before[name] for name in moved))
    node.wait_for(lambda: len([f for f in node.frames(source) if f["session"] == node.session(source)]) > 30)
    for name in CAMERAS:
        frames = node.frames(name)
        assert_in_order(frames)
        old = [frame for frame in frames if frame["session"] == before[name]]
        if name in moved:
            new = frames[len(frames) - frames[::-1].index(old[-1]) :]
            assert lost_ids(old) == list(ids(old)), "every person is lost once"
            assert not ids(old) & ids(new)
            assert new[0]["arrived_s"] - old[-2]["arrived_s"] < max_gap_s
        else:
            assert node.session(name) == before[name]
            assert len(ids(old)) == 1
            assert lost_ids(old) == []


def test_a_killed_worker_is_replaced_and_its_people_are_lost_once(node: Node):
    check_takeover(node, "cam0", lambda pid: os.kill(pid, signal.SIGKILL), max_gap_s=6.0)
    node.process.send_signal(signal.SIGINT)
    output, _ = node.process.communicate(timeout=30)
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
    check_takeover(node, "cam1", freeze, max_gap_s=8.0)
    node.wait_for(lambda: resumed)
    assert node.wait_for(lambda: node.report["counters"].get("workers.replaced")) == 1


def test_workers_end_by_themselves_when_the_supervisor_is_killed(node: Node):
    pids = node.wait_for(lambda: node.has_spare() and {node.worker_of(name) for name in CAMERAS} - {None})
    node.process.kill()
    node.process.wait()
    for pid in pids:
        node.wait_for(lambda pid=pid: not is_running(pid))


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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
