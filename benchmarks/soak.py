"""A node under faults for minutes or days: memory, threads, descriptors, stale poses and late losses.

    python benchmarks/soak.py MINUTES [--every-s 4] [--weights tiny] [--seed 0] [--only broker_killed ...]

`poselift run` lifts a camera (an MJPEG server with a detector of its own), a steady person, and a crowd of
people who come and go; it publishes over ZeroMQ and MQTT (a real mosquitto) and records. Every few seconds a
fault happens: the camera is dead, stalled or frozen, the broker is killed or stopped, a subscriber is killed,
stopped or slow, the sender of the steady person pauses, junk arrives, or a camera is added and removed.

Counted by subscribers on both transports: poses that are stale and not marked so, people whose loss is
announced late, twice or never, poses out of order. Sampled every second from the second minute on (in short
runs after 40 % of the time): resident memory, threads and open descriptors of the node. Prints a table, then
one JSON line; exits with 1 when a count is above 0 or one of the three grows.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pipeline import tiny
from soak_checker import Checker, check_mqtt, check_zeromq
from soak_faults import Faults
from soak_node import Node
from soak_peers import START_S, Broker, Camera, Senders

from lifter.machine import machine

MAX_GROWTH_MIB, MAX_SLOPE_MIB_PER_MIN = 24.0, 0.5
MAX_MORE_THREADS, MAX_MORE_DESCRIPTORS = 4, 12


def main() -> None:
    arguments = parse()
    rng, stop = random.Random(arguments.seed), threading.Event()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        camera, broker, senders = Camera(), Broker(folder), Senders(random.Random(arguments.seed + 1))
        weights = tiny(folder) if arguments.weights == "tiny" else arguments.weights
        node = Node(folder, weights, camera, broker, senders)
        checkers = Checker("zeromq", complete=True), Checker("mqtt", complete=False)
        threads = [
            threading.Thread(target=check_zeromq, args=(node.port, checkers[0], stop)),
            threading.Thread(target=check_mqtt, args=(broker.port, checkers[1], stop)),
        ]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: all(checker.poses > 30 for checker in checkers), node)
            faults = Faults(rng, node, camera, broker, senders, arguments.only)
            samples = soak(arguments, node, faults)
        finally:
            code = node.stop()
            stop.set()
            for thread in threads:
                thread.join()
            senders.close()
            camera.close()
            broker.kill()
        log = node.log.read_text(errors="replace")
    sys.exit(report(arguments, checkers, faults, samples, code, log))


def wait_for(condition: Callable[[], bool], node: Node) -> None:
    until_s = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > until_s or node.process.poll() is not None:
            raise SystemExit(f"the node published nothing:\n{node.log.read_text()}")
        time.sleep(0.1)


def soak(arguments: argparse.Namespace, node: Node, faults: Faults) -> list[tuple[float, float, int, int]]:
    """Cause faults until the time is over; (minutes, MiB, threads, descriptors) of every second."""
    samples: list[tuple[float, float, int, int]] = []
    start_s, ended = time.monotonic(), threading.Event()

    def cause_faults() -> None:
        while not ended.is_set():
            faults.next(arguments.every_s * 0.75)
            ended.wait(arguments.every_s * 0.25)

    thread = threading.Thread(target=cause_faults)
    thread.start()
    while (elapsed_s := time.monotonic() - start_s) < 60 * arguments.minutes and node.process.poll() is None:
        samples.append((elapsed_s / 60, *node.sample()))
        time.sleep(1.0)
    ended.set()
    thread.join()
    return samples


def report(
    arguments: argparse.Namespace,
    checkers: tuple[Checker, ...],
    faults: Faults,
    samples: list[tuple[float, float, int, int]],
    code: int,
    log: str,
) -> int:
    """Print the result; 1 when anything is wrong."""
    warm_up = min(1.0, 0.4 * arguments.minutes)
    measured = np.array([sample for sample in samples if sample[0] >= warm_up])
    part = max(1, len(measured) // 4)
    first, last = measured[:part], measured[-part:]
    slope = float(np.polyfit(measured[:, 0], measured[:, 1], 1)[0])
    growth = float(np.median(last[:, 1]) - np.median(first[:, 1]))
    # Faults open and close threads and descriptors all the time: what leaks shows in the smallest numbers.
    threads, descriptors = ((int(first[:, n].min()), int(last[:, n].min())) for n in (2, 3))
    wrong = [f"{checker.name}: {dict(checker.faults)}" for checker in checkers if checker.faults]
    if growth > MAX_GROWTH_MIB and slope > MAX_SLOPE_MIB_PER_MIN:
        wrong.append(f"memory grew by {growth:.1f} MiB")
    if threads[1] > threads[0] + MAX_MORE_THREADS or descriptors[1] > descriptors[0] + MAX_MORE_DESCRIPTORS:
        wrong.append(f"threads {threads}, descriptors {descriptors}")
    if "Traceback" in log:
        wrong.append(f"the node's log has {log[log.index('Traceback') - 200 :][:3000]}")
    if code != 0:
        wrong.append(f"the node ended with {code}; its log ends with {log[-2000:]}")
    for checker in checkers:
        print(
            f"{checker.name:8} {checker.poses} poses, oldest {checker.oldest_s:.2f} s, "
            f"latest loss {checker.latest_loss_s:.2f} s, {dict(checker.faults) or 'nothing wrong'}"
        )
        for example in checker.examples:
            print(f"    {example}")
    print(f"drops    {checkers[0].drops}")
    print(f"faults   {dict(faults.counts)}")
    print(
        f"memory   {first[0, 1]:.1f} to {last[-1, 1]:.1f} MiB, "
        f"slope {slope:.2f} MiB/min, growth {growth:.1f} MiB"
    )
    minutes = {int(minute): mib for minute, mib, *_ in samples}  # the last sample of each minute
    print(f"by minute {' '.join(f'{mib:.0f}' for mib in minutes.values())}")
    print(f"threads  {threads[0]} to {threads[1]}, descriptors {descriptors[0]} to {descriptors[1]}")
    for line in wrong:
        print(f"WRONG    {line}")
    summary = {
        **{"benchmark": "soak", "machine": machine().text(), "minutes": arguments.minutes},
        **{
            "faults": dict(faults.counts),
            "slope_mib_per_min": round(slope, 3),
            "growth_mib": round(growth, 2),
        },
        **{"rss_mib": [round(first[0, 1], 1), round(last[-1, 1], 1)], "threads": threads},
        **{"descriptors": descriptors, "wrong": wrong},
        **{checker.name: {"poses": checker.poses, **checker.faults} for checker in checkers},
    }
    print(json.dumps(summary))
    return 1 if wrong else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--every-s", type=float, default=4.0, help="seconds from one fault to the next")
    parser.add_argument("--weights", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="kinds of faults; default: all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
