"""What a good sender and the memory suffer while another program attacks the node; loopback only.

    python benchmarks/attack.py [--seconds 6] [--weights tiny] [--only many_parts ...]

`poselift run` lifts the camera `good`, which a sender feeds at 50 Hz, and listens for guests on a second
source. Quiet phases and attacks alternate, each for `--seconds`, an attack from a process of its own. The age
of the poses of `good` is measured when they arrive at a subscriber; the memory is that of the node. Aims: p95
of the age within 1.5 times the mean of the quiet phases before and after, memory below that of the first
quiet phase plus 150 MB. On a machine with other work run it more than once.
Prints a table, then one JSON line. The default weights are an untrained network that needs almost no time.
"""

import argparse
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import zmq
from pipeline import free_port, memory_mib, tiny

from lifter.machine import machine
from stream.client import Subscriber
from stream.messages import Header, KeypointFrame, Keypoints, PoseFrame
from stream.wire.codec import encode

CONFIG = """
sources:
  good: {{type: keypoints_zmq, endpoint: "tcp://127.0.0.1:{good}"}}
  guests: {{type: keypoints_zmq, endpoint: "tcp://127.0.0.1:{guests}", bind: true}}
lifter: {{weights: {weights}}}
sinks:
  zeromq: {{type: zeromq, port: {port}}}
"""
RATE_HZ = 50.0
WALKER = np.random.default_rng(1).uniform(100, 400, (17, 2)).astype(np.float32)
TOPIC = b"keypoints2d/v1/guest/"
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\x00" + bytes(31)


def main() -> None:
    arguments = parse()
    if arguments.attack:
        attack(arguments.attack, arguments.guests, arguments.port, arguments.seconds)
        return
    names = ["quiet"]
    for name in arguments.only or PHASES[1:]:
        names += [name, "quiet"]
    sender = zmq.Context.instance().socket(zmq.PUB)
    good = sender.bind_to_random_port("tcp://127.0.0.1")
    guests, port, stop = free_port(), free_port(), threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        weights = tiny(Path(folder)) if arguments.weights == "tiny" else arguments.weights
        config = Path(folder) / "attack.yaml"
        config.write_text(CONFIG.format(good=good, guests=guests, port=port, weights=weights))
        command = [sys.executable, "-m", "stream.cli", "run", str(config)]
        node = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        thread = threading.Thread(target=send_good, args=(sender, stop), daemon=True)
        thread.start()
        try:
            with Subscriber(f"tcp://127.0.0.1:{port}", "good", ("pose3d",)) as subscriber:
                if subscriber.read(60.0) is None:
                    raise SystemExit("the node published no poses")
                phases = [
                    (name, phase(name, arguments, guests, port, subscriber, node.pid)) for name in names
                ]
        finally:
            stop.set()
            thread.join()
            node.send_signal(signal.SIGINT)
            node.wait(20)
    report(phases)


def phase(
    name: str, arguments: argparse.Namespace, guests: int, port: int, subscriber: Subscriber, pid: int
) -> dict[str, float]:
    """Ages of the good camera's poses in ms, poses per second, and the node's largest memory in MiB."""
    attacker = None
    if name != "quiet":
        options = ["--guests", str(guests), "--port", str(port), "--seconds", str(arguments.seconds)]
        attacker = subprocess.Popen(
            [sys.executable, __file__, "--attack", name, *options], stderr=subprocess.DEVNULL
        )
    ages, memory = list[float](), 0.0
    # A subprocess takes a second to start.
    end_s = time.monotonic() + arguments.seconds + 1.0
    while time.monotonic() < end_s:
        message = subscriber.read(0.5)
        if isinstance(message, PoseFrame):
            ages.append(message.age_ms())
        if len(ages) % 5 == 0:
            memory = max(memory, memory_mib(pid))
    if attacker is not None:
        attacker.kill()
        attacker.wait()
    p50, p95, worst = np.percentile(ages, [50, 95, 100]).round(2).tolist() if ages else (np.inf,) * 3
    rate_hz = round(len(ages) / (arguments.seconds + 1.0), 1)
    return {"p50_ms": p50, "p95_ms": p95, "max_ms": worst, "rate_hz": rate_hz, "rss_mib": round(memory, 1)}


def frame(source: str, seq: int, *persons: Keypoints) -> bytes:
    header = Header(source, seq, 0, time.time_ns())
    return encode(KeypointFrame(header, (1280, 720), "h36m17", persons, 0))


def person(id: str | None = None, shift: float = 0.0) -> Keypoints:
    return Keypoints(WALKER + np.float32(shift), np.ones(17, np.float32), id)


def send_good(sender: "zmq.Socket[bytes]", stop: threading.Event) -> None:
    seq, next_s = 0, time.monotonic()
    while not stop.is_set():
        sender.send_multipart([b"keypoints2d/v1/good/", frame("good", seq, person(shift=seq % 50))])
        seq, next_s = seq + 1, next_s + 1 / RATE_HZ
        time.sleep(max(0.0, next_s - time.monotonic()))


# Attacks


def attack(name: str, guests: int, port: int, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    if name in ("long_subscription", "many_subscriptions"):
        while time.monotonic() < end_s:
            subscribe_raw(port, name == "long_subscription", end_s)
            time.sleep(0.1)
        return
    sender = zmq.Context.instance().socket(zmq.PUB)
    sender.set(zmq.LINGER, 0)
    sender.connect(f"tcp://127.0.0.1:{guests}")
    time.sleep(0.3)
    number = 0
    while time.monotonic() < end_s:
        number += 1
        time.sleep(SENDERS[name](sender, number))


def subscribe_raw(port: int, long: bool, end_s: float) -> None:
    """Subscribe by hand, since libzmq's own subscriber cannot send some of these."""
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"SUB"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(GREETING)
            connection.recv(64, socket.MSG_WAITALL)
            connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
            connection.recv(1024)  # the READY command of the other side
            while time.monotonic() < end_s:
                topic = b"x" * 20_000_000 if long else os.urandom(900)
                connection.sendall(b"\x02" + struct.pack(">Q", len(topic) + 1) + b"\x01" + topic)
    except OSError:
        pass


def changing_ids(sender: "zmq.Socket[bytes]", number: int) -> float:
    people = [person(f"{number}-{index}", 20 * index) for index in range(10)]
    sender.send_multipart([TOPIC, frame("guest", number, *people)])
    return 0.02


def short_lived_ids(sender: "zmq.Socket[bytes]", number: int) -> float:
    people = [person(f"{number // 3}-{index}", 20 * index) for index in range(10)]
    sender.send_multipart([TOPIC, frame("guest", number, *people)])
    return 0.02


def crowd(sender: "zmq.Socket[bytes]", number: int) -> float:
    sender.send_multipart([TOPIC, frame("guest", number, *[person(f"{number}-{n}") for n in range(3000)])])
    return 0.1


def forged_name(sender: "zmq.Socket[bytes]", number: int) -> float:
    sender.send_multipart([TOPIC, frame("good", number, person("forged"))])
    return 0.02


def many_names(sender: "zmq.Socket[bytes]", number: int) -> float:
    sender.send_multipart([TOPIC, frame(f"name{number}", 0, person())])
    return 0.002


def many_parts(sender: "zmq.Socket[bytes]", number: int) -> float:
    sender.send_multipart([b"keypoints2d/v1/", *[b"x" * 1_000_000] * 500])
    return 0.1


SENDERS = {
    function.__name__: function
    for function in (changing_ids, short_lived_ids, crowd, forged_name, many_names, many_parts)
}
PHASES = ("quiet", "long_subscription", "many_subscriptions", *SENDERS)


def report(phases: list[tuple[str, dict[str, float]]]) -> None:
    """phases: a quiet one first and after every attack."""
    base_mib = phases[0][1]["rss_mib"]
    attacks = {}
    for (_, before), (name, row), (_, after) in zip(phases[::2], phases[1::2], phases[2::2], strict=False):
        ratio = row["p95_ms"] / ((before["p95_ms"] + after["p95_ms"]) / 2)
        growth_mib = row["rss_mib"] - base_mib
        attacks[name] = row | {"p95_ratio": round(ratio, 2), "growth_mib": round(growth_mib, 1)}
        print(f"{name:20}", "  ".join(f"{key} {value:8.1f}" for key, value in attacks[name].items()))
    summary = {
        "benchmark": "attack",
        "machine": machine(),
        "worst_p95_ratio": max(row["p95_ratio"] for row in attacks.values()),
        "worst_growth_mib": max(row["growth_mib"] for row in attacks.values()),
        "quiet": [row for name, row in phases if name == "quiet"],
        "attacks": attacks,
    }
    print(json.dumps(summary, default=str))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--weights", default="tiny")
    parser.add_argument("--only", nargs="*", choices=PHASES[1:], help="attacks to run; default: all")
    parser.add_argument("--attack", choices=PHASES[1:], help=argparse.SUPPRESS)
    parser.add_argument("--guests", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
