"""Poses per second of one process and of several workers, and what a subscriber misses when a worker fails.

    python benchmarks/workers.py [--cameras 40] [--rate-hz 30] [--seconds 10] [--workers 1 2] [--no-failover]

A sender publishes keypoints2d messages of `--cameras` cameras, one person each; every camera is a source of
its own. `poselift run` lifts them with an untrained network that needs almost no time, once for every number
of `--workers` (1 is the plain process). A subscriber that decodes only names and times counts the poses.

Failover, with the largest number of workers: the worker of the first camera is killed, then another one is
frozen and continued 3 s later. Counted over the cameras of the failed worker: the gap between the last frame
before and the first one after, frames sent but not published within the gap, frames published twice or out
of order, persons, and announcements that a person is lost. Prints a table, then one JSON line.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from pipeline import cpu_seconds, free_port, memory_mib, percentiles, tiny

from lifter.machine import machine
from stream.messages import Header, KeypointFrame, Keypoints
from stream.wire.codec import encode
from stream.wire.topics import topic

WARM_UP_S = 3.0
START_S = 600.0
FROZEN_S = 3.0


class Person(msgspec.Struct):
    id: str
    state: str


class Frame(msgspec.Struct):
    """The part of a pose3d document that the counts need."""

    source: str
    session: str
    t_capture_ns: int
    persons: list[Person]
    arrived_ns: int = 0


decode_frame = msgspec.msgpack.Decoder(Frame).decode


class Node:
    """A running node with a sender of keypoints, and everything it publishes.

    command: of poselift that starts it; sections: further ones of the config.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        folder: Path,
        weights: Path,
        workers: int,
        command: tuple[str, ...] = ("run",),
        sections: dict[str, Any] | None = None,
    ) -> None:
        self.arguments, self.frames, self.sent = arguments, list[Frame](), Counter[str]()
        self.report: dict[str, Any] = {"states": {}, "counters": {}}
        self.cameras = [f"cam{number}" for number in range(arguments.cameras)]
        self._sender = zmq.Context.instance().socket(zmq.PUB)
        self._sender.set_hwm(10_000)
        incoming = f"tcp://127.0.0.1:{self._sender.bind_to_random_port('tcp://127.0.0.1')}"
        self._port = free_port()
        config = {
            "workers": workers,
            "status_s": 0.5,
            "sources": {
                name: {"type": "keypoints_zmq", "endpoint": incoming, "topic": f"keypoints2d/v1/{name}/"}
                for name in self.cameras
            },
            "lifter": {"weights": str(weights), "threads": 1},
            "sinks": {"zeromq": {"type": "zeromq", "port": self._port, "queue": 1000}},
        }
        self.path = folder / f"workers-{workers}.yaml"
        self.path.write_text(json.dumps(config | (sections or {})))  # JSON is YAML
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stream.cli", *command, str(self.path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._send, self._receive)]

    def __enter__(self) -> "Node":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        self._sender.close(0)

    def _send(self) -> None:
        score, tick, start_s = np.ones(17, np.float32), 0, time.monotonic()
        base = np.random.default_rng(0).uniform(100, 400, (17, 2)).astype(np.float32)
        period_s = 1 / self.arguments.rate_hz
        while not self._stop.is_set():
            person = Keypoints(base + np.float32(10 * np.sin(tick / 8)), score)
            for number, name in enumerate(self.cameras):
                header = Header(name, tick, time.monotonic_ns(), time.time_ns())
                frame = KeypointFrame(header, (640, 480), "h36m17", (person,), header.captured_ns)
                self._sender.send_multipart([topic("keypoints2d", name), encode(frame)])
                turn_s = (tick + (number + 1) / len(self.cameras)) * period_s
                self._stop.wait(max(0.0, start_s + turn_s - time.monotonic()))
            tick += 1

    def _receive(self) -> None:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        socket.set(zmq.RCVHWM, 0)
        socket.connect(f"tcp://127.0.0.1:{self._port}")
        for prefix in (b"pose3d/", b"status/"):
            socket.subscribe(prefix)
        while not self._stop.is_set():
            if not socket.poll(100):
                continue
            name, payload = socket.recv_multipart()
            if name.startswith(b"pose3d/"):
                frame = decode_frame(payload)
                frame.arrived_ns = time.time_ns()
                self.frames.append(frame)
            else:
                self.report = msgspec.msgpack.decode(payload)["report"]
        socket.close(0)

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            if value := condition():
                return value
            time.sleep(0.05)
        raise SystemExit(f"nothing within {START_S:g} s; the node's report: {self.report}")

    def sessions(self) -> dict[str, str]:
        """The session of every camera that has been published."""
        return {frame.source: frame.session for frame in list(self.frames)}

    def pids(self) -> list[int]:
        """The node's process and its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [self.process.pid, *map(int, children.read_text().split() if children.exists() else [])]

    def workers(self) -> dict[str, int]:
        """Process id of the worker of every source, and of the spare worker as "spare"."""
        found = {}
        for state in self.report["states"].values():
            parts = re.fullmatch(r"process (\d+)(?: on \S+)?: (.*)", state["detail"])
            if parts and state["state"] == "ok":
                found |= dict.fromkeys(parts[2].split(", "), int(parts[1]))
        return found


def throughput(node: Node, workers: int) -> dict[str, Any]:
    """Poses per second, ages, CPU time and memory after a warm-up."""
    node.wait_for(lambda: len(node.sessions()) == len(node.cameras))
    if workers > 1:
        node.wait_for(lambda: "spare" in node.workers())
    time.sleep(WARM_UP_S)
    pids, first = node.pids(), len(node.frames)
    before_s, start_s = sum(map(cpu_seconds, pids)), time.monotonic()
    supervisor_s = cpu_seconds(pids[0])
    time.sleep(node.arguments.seconds)
    frames = node.frames[first:]
    elapsed_s = time.monotonic() - start_s
    return {
        "poses_per_s": round(len(frames) / elapsed_s),
        "age_ms": percentiles([(frame.arrived_ns - frame.t_capture_ns) / 1e6 for frame in frames]),
        "cpu_us_per_pose": round(1e6 * (sum(map(cpu_seconds, pids)) - before_s) / len(frames)),
        "first_process_cpu_us_per_pose": round(1e6 * (cpu_seconds(pids[0]) - supervisor_s) / len(frames)),
        "processes": len(pids),
        "rss_mib": [round(memory_mib(pid)) for pid in pids],
    }


def failover(node: Node, fail: Callable[[int], None]) -> dict[str, Any]:
    """Counts over the cameras of the worker of the first camera, which `fail` ends."""
    node.wait_for(lambda: "spare" in node.workers() and len(node.sessions()) == len(node.cameras))
    pid = node.workers()[node.cameras[0]]
    moved = [name for name, worker in node.workers().items() if worker == pid]
    before = node.sessions()
    failed_ns = time.time_ns()
    fail(pid)
    node.wait_for(lambda: all(node.sessions()[name] != before[name] for name in moved))
    time.sleep(FROZEN_S + 2.0)
    frames = list(node.frames)
    gaps_ms, people, announcements = [], 0, 0
    for name in moved:
        own = [frame for frame in frames if frame.source == name]
        old = [frame for frame in own if frame.session == before[name]]
        new = next(frame for frame in own if frame.session == node.sessions()[name])
        last = next(frame for frame in reversed(old) if all(p.state != "lost" for p in frame.persons))
        gaps_ms.append((new.arrived_ns - last.arrived_ns) / 1e6)
        present = {person.id for person in last.persons}
        lost = [p.id for frame in old for p in frame.persons if p.state == "lost" and p.id in present]
        people, announcements = people + len(present), announcements + len(lost)
    after = [frame for frame in frames if frame.arrived_ns > failed_ns]
    return {
        "cameras": len(moved),
        "gap_ms": percentiles(gaps_ms),
        "poses_missing_per_camera": round(float(np.median(gaps_ms)) / 1000 * node.arguments.rate_hz),
        "persons": people,
        "lost_announcements": announcements,
        "twice": sum(n - 1 for n in Counter((f.source, f.t_capture_ns) for f in frames).values()),
        "out_of_order": out_of_order(frames),
        "old_session_after_new": sum(
            frame.session == before[frame.source]
            for index, frame in enumerate(after)
            if frame.source in moved
            and any(f.source == frame.source and f.session != frame.session for f in after[:index])
        ),
    }


def out_of_order(frames: list[Frame]) -> int:
    newest: dict[str, int] = {}
    count = 0
    for frame in frames:
        count += frame.t_capture_ns < newest.get(frame.source, 0)
        newest[frame.source] = max(frame.t_capture_ns, newest.get(frame.source, 0))
    return count


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    def resume() -> None:
        with suppress(ProcessLookupError):  # the supervisor has killed it
            os.kill(pid, signal.SIGCONT)

    os.kill(pid, signal.SIGSTOP)
    threading.Timer(FROZEN_S, resume).start()


def main() -> None:
    arguments = parse()
    result: dict[str, Any] = {
        "benchmark": "workers",
        "machine": machine().text(),
        "cameras": arguments.cameras,
        "rate_hz": arguments.rate_hz,
    }
    print(f"{machine().text()}\n{arguments.cameras} cameras at {arguments.rate_hz:g} Hz, one person each")
    with tempfile.TemporaryDirectory() as name:
        weights = tiny(Path(name))
        for workers in arguments.workers:
            with Node(arguments, Path(name), weights, workers) as node:
                result[f"workers_{workers}"] = throughput(node, workers)
                print(f"{workers} workers: {result[f'workers_{workers}']}")
                if workers > 1 and workers == max(arguments.workers) and arguments.failover:
                    for label, fail in (("killed", kill), ("frozen", freeze)):
                        result[label] = failover(node, fail)
                        print(f"{label}: {result[label]}")
    print(json.dumps(result))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cameras", type=int, default=40)
    parser.add_argument("--rate-hz", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--failover", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
