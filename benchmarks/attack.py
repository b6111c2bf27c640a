"""What a good sender and the memory suffer while another program attacks the node; loopback only.

    python benchmarks/attack.py [--seconds 6] [--rounds 3] [--weights tiny] [--only many_parts ...]

`poselift run` lifts the camera `good`, which a sender feeds at 50 Hz, and listens for guests on a second
source. Quiet phases and attacks alternate, each for `--seconds`, an attack from a process of its own, which
only gets time that no other process wants (nice 19): it stands for a program on another machine. The age
of the poses of `good` is measured when they arrive at a subscriber; the memory is that of the node. Aims: p95
of the age within 1.5 times the mean of the quiet phases before and after (the median of `--rounds` such
ratios), memory below that of the first quiet phase plus 150 MB.
Prints a table, then one JSON line. The default weights are an untrained network that needs almost no time.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import zmq
from attacks import ATTACKS, frame, person
from pipeline import free_port, memory_mib, tiny

from lifter.machine import machine
from stream.client import Subscriber
from stream.messages import PoseFrame

CONFIG = """
sources:
  good: {{type: keypoints_zmq, endpoint: "tcp://127.0.0.1:{good}"}}
  guests: {{type: keypoints_zmq, endpoint: "tcp://127.0.0.1:{guests}", bind: true}}
lifter: {{weights: {weights}}}
sinks:
  zeromq: {{type: zeromq, port: {port}}}
"""
RATE_HZ = 50.0
SETTLE_S = 1.0


def main() -> None:
    arguments = parse()
    names = ["quiet"]
    for name in arguments.only or ATTACKS:
        names += [name, "quiet"] * arguments.rounds
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
    """Ages of the good camera's poses in ms, poses per second, CPU time and largest memory of the node."""
    attacker = None
    if name != "quiet":
        script = Path(__file__).with_name("attacks.py")
        command = [sys.executable, str(script), name, str(guests), str(port)]
        attacker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    settle(subscriber, attacker)
    ages, memory, cpu_s = list[float](), 0.0, cpu_seconds(pid)
    end_s = time.monotonic() + arguments.seconds
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
    rate_hz = round(len(ages) / arguments.seconds, 1)
    cpu_ms = 1e3 * (cpu_seconds(pid) - cpu_s) / arguments.seconds
    ages_ms = {"p50_ms": p50, "p95_ms": p95, "max_ms": worst}
    return {**ages_ms, "rate_hz": rate_hz, "cpu_ms_per_s": round(cpu_ms, 1), "rss_mib": round(memory, 1)}


def settle(subscriber: Subscriber, attacker: "subprocess.Popen[bytes] | None") -> None:
    """Discard poses until the attack has begun, and for SETTLE_S more: some waited meanwhile."""
    until_s = time.monotonic() + SETTLE_S
    while time.monotonic() < until_s:
        subscriber.read(0.1)
        if attacker is not None and attacker.stdout in select.select([attacker.stdout], [], [], 0)[0]:
            assert attacker.stdout is not None
            attacker.stdout.readline()
            attacker, until_s = None, time.monotonic() + SETTLE_S
        elif attacker is not None:
            until_s = time.monotonic() + SETTLE_S


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def send_good(sender: "zmq.Socket[bytes]", stop: threading.Event) -> None:
    seq, next_s = 0, time.monotonic()
    while not stop.is_set():
        sender.send_multipart([b"keypoints2d/v1/good/", frame("good", seq, person(shift=seq % 50))])
        seq, next_s = seq + 1, next_s + 1 / RATE_HZ
        time.sleep(max(0.0, next_s - time.monotonic()))


def report(phases: list[tuple[str, dict[str, float]]]) -> None:
    """phases: a quiet one first and after every attack."""
    base_mib = phases[0][1]["rss_mib"]
    rounds: dict[str, list[dict[str, float]]] = {}
    for (_, before), (name, row), (_, after) in zip(phases[::2], phases[1::2], phases[2::2], strict=False):
        ratio = row["p95_ms"] / ((before["p95_ms"] + after["p95_ms"]) / 2)
        rounds.setdefault(name, []).append(
            row | {"p95_ratio": ratio, "growth_mib": row["rss_mib"] - base_mib}
        )
    attacks = {}
    for name, rows in rounds.items():
        # Other work on the machine disturbs single rounds: the median of ages, but the most memory.
        attacks[name] = {
            key: round(float((np.max if key.endswith("mib") else np.median)([row[key] for row in rows])), 2)
            for key in rows[0]
        }
        ratios = " ".join(f"{row['p95_ratio']:.2f}" for row in rows)
        print(
            f"{name:20}",
            "  ".join(f"{key} {value:8.1f}" for key, value in attacks[name].items()),
            f" ({ratios})",
        )
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", default="tiny")
    parser.add_argument("--only", nargs="*", choices=ATTACKS, help="attacks to run; default: all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
