"""A node with workers as users run it, a sender of four cameras, and a record of all that it publishes."""

import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack
import zmq

from tests.stream.runtime.test_service import keypoints

CAMERAS = ["cam0", "cam1", "cam2", "cam3"]
RATE_HZ = 12
WAIT_S = 240.0
CONFIG = """
node: test
workers: {workers}
sources:
{sources}
lifter: # a busy machine must neither lose people nor drop frames
  {{weights: "{weights}", device: cpu, threads: 1, predict_s: 5, max_age_ms: null{lifter}}}
tracking: {{confirm_frames: 1}}
sinks:
  zeromq: {{type: zeromq, port: {port}, queue: 1000, max_age_ms: null}}
  file: {{type: jsonl, path: "{folder}/poses.jsonl"}}
status_s: 0.5
"""


class Node:
    """A `poselift run`, a sender of four cameras, and a record of everything published.

    cameras: those in the config. command: of poselift that starts the node; more: further lines of YAML.
    host: address at which the cameras send. lifter: further settings of the lifter.
    sent_cameras: cameras whose keypoints are sent.
    """

    def __init__(
        self,
        weights: Path,
        folder: Path,
        cameras: Sequence[str] = CAMERAS,
        workers: int | str = 2,
        command: tuple[str, ...] = ("run",),
        more: str = "",
        host: str = "127.0.0.1",
        lifter: str = "",
    ) -> None:
        context = zmq.Context.instance()
        self._sender = context.socket(zmq.PUB)
        self._incoming = f"tcp://{host}:{self._sender.bind_to_random_port(f'tcp://{host}')}"
        with context.socket(zmq.PUB) as probe:
            self._port = probe.bind_to_random_port("tcp://127.0.0.1")
        self._subscriber = context.socket(zmq.SUB)
        self._subscriber.set(zmq.RCVHWM, 0)
        self._subscriber.connect(f"tcp://127.0.0.1:{self._port}")
        self._subscriber.subscribe(b"")
        self._weights, self._folder, self._workers = weights, folder, workers
        self.config = folder / "workers.yaml"
        self._more, self._lifter = more, lifter
        self.write_config(cameras)
        self._output = folder / "output.txt"
        self._command = [sys.executable, "-m", "stream.cli", *command, str(self.config)]
        self.process = self.start()
        self.sent_cameras = CAMERAS
        self._frames: dict[str, list[dict[str, Any]]] = {name: [] for name in CAMERAS}
        self.reports: list[dict[str, Any]] = []
        self.report: dict[str, Any] = {"states": {}, "counters": {}}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the node, whose output goes to a file: a full pipe would block it."""
        with self._output.open("wb") as output:
            return subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)

    def wait_for_end(self) -> str:
        """Wait until the process has ended; its output."""
        self.process.wait(WAIT_S)
        return self._output.read_text()

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
            lifter=self._lifter,
        )
        self.config.write_text(text + self._more + changes)

    def _send(self) -> None:
        for seq in range(1_000_000):
            for name in self.sent_cameras:
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
                    frame = msgpack.unpackb(payload)
                    self._frames[frame["source"]].append(frame)
                elif topic == b"status/v1/test/":
                    self.report = msgpack.unpackb(payload)["report"]
                    self.reports.append(self.report)

    def frames(self, source: str) -> list[dict[str, Any]]:
        return list(self._frames[source])

    def session(self, source: str) -> str | None:
        frames = self._frames[source]
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
            time.sleep(0.05)
        raise AssertionError(f"not in time; report {self.report}")

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.process.kill()
        self.process.wait()
        self._sender.close(0)
        self._subscriber.close(0)


def lost_ids(frames: list[dict[str, Any]]) -> list[str]:
    return [person["id"] for frame in frames for person in frame["persons"] if person["state"] == "lost"]


def ids(frames: list[dict[str, Any]]) -> set[str]:
    return {person["id"] for frame in frames for person in frame["persons"]}


def assert_none_twice(frames: list[dict[str, Any]]) -> None:
    """No frame twice and none out of order."""
    times = [frame["t_capture_ns"] for frame in frames]
    assert times == sorted(set(times))


def assert_in_order(frames: list[dict[str, Any]]) -> None:
    """No frame twice and none out of order; one run of frames per session."""
    assert_none_twice(frames)
    sessions = [frame["session"] for frame in frames]
    changes = sum(one != other for one, other in itertools.pairwise(sessions))
    assert changes == len(set(sessions)) - 1


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_complete(node: Node) -> bool:
    """Whether every camera is published and its worker is known, which the status tells some time later."""
    workers = [node.worker_of(name) for name in CAMERAS]
    return all(node.session(name) for name in CAMERAS) and all(pid and is_running(pid) for pid in workers)


def check_takeover(node: Node, source: str, fail: Callable[[int], None]) -> int:
    """Let the worker of `source` fail; its cameras must come back from another one without any pose twice."""
    node.wait_for(lambda: is_complete(node) and node.has_spare())
    pid = node.worker_of(source)
    assert pid is not None
    before = {name: node.session(name) for name in CAMERAS}
    lost_before = {name: lost_ids(node.frames(name)) for name in CAMERAS}
    moved = [name for name in CAMERAS if node.worker_of(name) == pid]
    fail(pid)
    node.wait_for(lambda: all(node.session(name) != before[name] for name in moved))
    node.wait_for(lambda: len([f for f in node.frames(source) if f["session"] == node.session(source)]) > 30)
    for name in CAMERAS:
        frames = node.frames(name)
        assert_in_order(frames)
        sessions = dict.fromkeys(frame["session"] for frame in frames)
        for session in list(sessions)[:-1]:
            old = [frame for frame in frames if frame["session"] == session]
            assert sorted(lost_ids(old)) == sorted(ids(old)), "every person of an old session is lost once"
        if node.session(name) == before[name]:
            assert lost_ids(frames) == lost_before[name], "no person of another worker is lost"
    return pid
