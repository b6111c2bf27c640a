"""Overhead of the pipeline: from sending a keypoint message to receiving its pose, minus the time to lift.

    python benchmarks/pipeline.py [--streams 1] [--rate-hz 50] [--seconds 20] [--weights tiny] [--together]

A sender publishes keypoints2d messages of `--streams` cameras; `poselift run` in a second process lifts them;
a subscriber measures when the pose of each message arrives. Overhead = arrival time - sending time - lift
time. The default weights are an untrained network of 9 frames and one block, which needs almost no time. The
overhead includes waiting while the lifter works for other cameras. Relay: the same messages through a process
that only forwards them, which measures sockets and process wake-ups. Cameras send one after the other, as
unsynchronised cameras do; with --together all send at the same time. CPU: share of the `poselift run`
process, lifting included. Prints a table, then one JSON line.
"""

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import zmq

from lifter.machine import machine
from stream.client import Subscriber
from stream.clock import SystemClock
from stream.messages import Header, KeypointFrame, Keypoints, PoseFrame
from stream.wire.codec import decode_keypoints, encode
from stream.wire.topics import topic

CONFIG = """
sources:
  net: {{type: keypoints_zmq, endpoint: "{incoming}"}}
lifter: {{weights: {weights}, hop: {hop}}}
sinks:
  zeromq: {{type: zeromq, port: {port}}}
"""
RELAY = """
import sys, zmq
front, back = (zmq.Context.instance().socket(kind) for kind in (zmq.XSUB, zmq.XPUB))
front.connect(sys.argv[1])
back.bind(sys.argv[2])
zmq.proxy(front, back)
"""


def main() -> None:
    arguments = parse()
    sender = zmq.Context.instance().socket(zmq.PUB)
    sender.set_hwm(10_000)
    incoming = f"tcp://127.0.0.1:{sender.bind_to_random_port('tcp://127.0.0.1')}"
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.yaml"
        weights = tiny(Path(folder)) if arguments.weights == "tiny" else arguments.weights
        config.write_text(CONFIG.format(incoming=incoming, port=port, weights=weights, hop=arguments.hop))
        daemon = subprocess.Popen(
            [sys.executable, "-m", "stream.cli", "run", str(config)], stdout=subprocess.DEVNULL
        )
        try:
            with Subscriber(f"tcp://127.0.0.1:{port}") as subscriber:
                frames, cpu_s = measure(arguments, sender, subscriber, daemon.pid)
            rss_mib = memory_mib(daemon.pid)
        finally:
            daemon.send_signal(signal.SIGINT)
            daemon.wait(10)
    report(arguments, frames, cpu_s, rss_mib, relay(arguments, sender, incoming))


def relay(arguments: argparse.Namespace, sender: zmq.Socket[bytes], incoming: str) -> list[float]:
    """Ages in ms of messages that another process handed on as they came."""
    port, stop, ages = free_port(), threading.Event(), []
    with subprocess.Popen([sys.executable, "-c", RELAY, incoming, f"tcp://127.0.0.1:{port}"]) as process:
        receiver: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        receiver.subscribe(b"")
        receiver.rcvtimeo = 500
        receiver.connect(f"tcp://127.0.0.1:{port}")
        thread = threading.Thread(target=send, args=(arguments, sender, stop), name="sender")
        thread.start()
        start_s = time.monotonic() + 1.0
        while time.monotonic() < start_s + arguments.seconds / 2:
            try:
                _, message = receiver.recv_multipart()
            except zmq.Again:
                continue
            now_ns = time.time_ns()
            if time.monotonic() > start_s:
                sent_ns = decode_keypoints(message, SystemClock()).header.captured_unix_ns
                ages.append((now_ns - sent_ns) / 1e6)
        stop.set()
        thread.join()
        receiver.close(0)
        process.kill()
    return ages


def measure(
    arguments: argparse.Namespace, sender: zmq.Socket[bytes], subscriber: Subscriber, pid: int
) -> tuple[list[tuple[float, PoseFrame]], float]:
    """(overhead in ms, pose frame) of every pose that arrived after a warm-up of 3 s, and CPU time since."""
    stop = threading.Event()
    thread = threading.Thread(target=send, args=(arguments, sender, stop), name="sender")
    thread.start()
    frames: list[tuple[float, PoseFrame]] = []
    before_s: float | None = None
    try:
        while subscriber.read(60.0) is None:
            raise SystemExit("the daemon published nothing within 60 s")
        gc.freeze()  # this side must not look for garbage either
        start_s = time.monotonic() + 3.0
        while time.monotonic() < start_s + arguments.seconds:
            message = subscriber.read(0.5)
            now_ns = time.time_ns()
            if before_s is None and time.monotonic() > start_s:
                before_s = cpu_seconds(pid)
            if isinstance(message, PoseFrame) and time.monotonic() > start_s:
                frames.append((message.age_ms(now_ns) - message.latency_ms.lift, message))
    finally:
        stop.set()
        thread.join()
    return frames, cpu_seconds(pid) - (before_s or 0.0)


def send(arguments: argparse.Namespace, sender: zmq.Socket[bytes], stop: threading.Event) -> None:
    """One person walking on the spot per camera, at a steady rate that does not drift."""
    start_s, tick = time.monotonic(), 0
    score = np.ones(17, np.float32)
    base = np.random.default_rng(0).uniform(100, 400, (17, 2)).astype(np.float32)
    while not stop.is_set():
        xy = base + np.float32(10 * np.sin(tick / 8))
        for camera in range(arguments.streams):
            name = f"cam{camera}"
            now = time.monotonic_ns()
            header = Header(name, tick, now, time.time_ns())
            person = Keypoints(xy, score, f"a{camera:04d}")
            frame = KeypointFrame(header, (640, 480), "h36m17", (person,), now)
            sender.send_multipart([topic("keypoints2d", name), encode(frame)])
            if not arguments.together:
                turn = tick + (camera + 1) / arguments.streams
                stop.wait(max(0.0, start_s + turn / arguments.rate_hz - time.monotonic()))
        tick += 1
        stop.wait(max(0.0, start_s + tick / arguments.rate_hz - time.monotonic()))


def report(
    arguments: argparse.Namespace,
    frames: list[tuple[float, PoseFrame]],
    cpu_s: float,
    rss_mib: float,
    relayed: list[float],
) -> None:
    overhead = percentiles([ms for ms, _ in frames])
    age = percentiles([ms + frame.latency_ms.lift for ms, frame in frames])
    lift = percentiles([frame.latency_ms.lift for _, frame in frames])
    hop = percentiles([frame.hop for _, frame in frames])
    sent = arguments.streams * arguments.rate_hz * arguments.seconds
    print(f"{machine().text()}\n{arguments.streams} streams at {arguments.rate_hz:g} Hz, hop {arguments.hop}")
    print(f"{len(frames)} poses for about {sent:.0f} messages; daemon's memory {rss_mib:.0f} MiB")
    core, pose_us = 100 * cpu_s / arguments.seconds, 1e6 * cpu_s / len(frames)
    print(f"daemon's CPU {core:.1f} % of a core, {pose_us:.0f} us per pose")
    handed = percentiles(relayed)
    shown = {"overhead ms": overhead, "relay ms": handed, "lift ms": lift, "age ms": age, "hop": hop}
    for name, values in shown.items():
        print(f"{name:<12}" + "  ".join(f"{key} {value:8.2f}" for key, value in values.items()))
    print(
        json.dumps(
            {
                "benchmark": "pipeline", "machine": machine().text(), "streams": arguments.streams,
                "rate_hz": arguments.rate_hz, "poses": len(frames), "overhead_ms": overhead,
                "relay_ms": handed, "lift_ms": lift, "age_ms": age, "hop": hop, "rss_mib": rss_mib,
                "together": arguments.together, "cpu_percent": round(core, 1), "cpu_us": round(pose_us),
            }
        )
    )  # fmt: skip


def percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        raise SystemExit("no pose arrived")
    return {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}


def tiny(folder: Path) -> Path:
    """Weights of a network so small that lifting takes little time; its poses are meaningless."""
    from lifter.spec import LifterSpec, Schedule
    from lifter.weights import build, save

    spec = LifterSpec(
        name="tiny",
        frames=9,
        in_channels=3,
        normalise="person",
        schedule=Schedule(keep=(5,), at=(0,)),
        config={"width": 8, "depth": 1, "heads": 1},
    )
    save(folder / "tiny.safetensors", build(spec), spec)
    return folder / "tiny.safetensors"


def memory_mib(pid: int) -> float:
    """Resident memory of a process; 0 where /proc does not tell."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU time a process has had; 0 where /proc does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with zmq.Context.instance().socket(zmq.PUB) as probe:
        return probe.bind_to_random_port("tcp://127.0.0.1")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--rate-hz", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--weights", default="tiny")
    parser.add_argument("--hop", default="auto")
    parser.add_argument("--together", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
