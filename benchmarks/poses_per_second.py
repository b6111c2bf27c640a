"""CPU time per published pose of one process, for one or several versions of poselift side by side.

    python benchmarks/poses_per_second.py [TREE ...] [--cameras 60] [--people 1] [--rate-hz 30] [--seconds 5]
                                          [--rounds 3] [--lifter instant] [--ids]

TREE: source folders of the versions to compare, by default this one. They take turns, `--rounds` times, so
that other load on the machine slows all of them alike; ratios are those to the first one. A process of its
own sends the `keypoints2d` messages of `--cameras` cameras with `--people` walking persons each, one camera
after the other; `poselift run` of the version lifts them; this process counts the poses and their ages.

--lifter tiny: an untrained network of 9 frames; instant: no network at all, every pose is the same. --ids:
the sender numbers the persons; without it they are tracked. A pose counts as published when it arrives in
this process. To see how many poses a second a version can publish at most, send more than it can: "poses per
CPU second" is what one core would publish. CPU per pose hardly depends on other load, ages do; compare
versions at the same hop, since a pass that publishes more frames costs less per pose.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import zmq

WARM_UP_S = 3.0
CONFIG = """
sources:
  net: {{type: keypoints_zmq, endpoint: "{incoming}"}}
lifter: {{weights: {weights}, hop: auto}}
sinks:
  zeromq: {{type: zeromq, port: {port}, queue: 1000}}
"""
DAEMON = """
import runpy
import sys
import numpy as np
from lifter.runner import Runner

POSE = np.random.default_rng(0).normal(0, 0.5, (1, 1, 17, 3)).astype(np.float32)
if sys.argv[1] == "instant":
    Runner.lift = lambda self, windows, last=None: POSE.repeat(len(windows), 0).repeat(last or 9, 1)
sys.argv[1:] = sys.argv[2:]
runpy.run_module("stream.cli", run_name="__main__")
"""
TINY = """
import sys
from lifter.spec import LifterSpec, Schedule
from lifter.weights import build, save

small = {"width": 8, "depth": 1, "heads": 1}
schedule = Schedule(keep=(5,), at=(0,))
spec = LifterSpec(
    name="tiny", frames=9, in_channels=3, normalise="person", schedule=schedule, config=small
)
save(sys.argv[1], build(spec), spec)
"""


def main() -> None:
    arguments = parse()
    if arguments.send:
        return send(arguments)
    results: dict[str, list[dict[str, float]]] = {str(tree): [] for tree in arguments.trees}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for number, tree in enumerate(arguments.trees):
                results[str(tree)].append(
                    measure(arguments, tree, Path(folder) / f"tiny{number}.safetensors")
                )
    report(arguments, results)


def measure(arguments: argparse.Namespace, tree: Path, weights: Path) -> dict[str, float]:
    """One run of one version: poses per second, CPU time per pose, and ages in ms."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    incoming, port = f"tcp://127.0.0.1:{free_port()}", free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.yaml"
        if not weights.exists():
            subprocess.run([sys.executable, "-c", TINY, weights], env=environment, cwd=folder, check=True)
        config.write_text(CONFIG.format(incoming=incoming, port=port, weights=weights))
        command = [sys.executable, "-c", DAEMON, arguments.lifter, "run", str(config)]
        daemon = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
        sender = subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--send", incoming])
        try:
            return receive(arguments, port, daemon.pid)
        finally:
            sender.kill()
            daemon.send_signal(signal.SIGINT)
            daemon.wait(20)


def receive(arguments: argparse.Namespace, port: int, pid: int) -> dict[str, float]:
    subscriber: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    subscriber.set_hwm(100_000)
    subscriber.rcvtimeo = 60_000
    subscriber.subscribe(b"pose3d/")
    subscriber.connect(f"tcp://127.0.0.1:{port}")
    try:
        read(subscriber)
        start_s = time.monotonic() + WARM_UP_S
        while time.monotonic() < start_s:
            read(subscriber)
        cpu_s, start_s, poses, ages_ms, hops = cpu_seconds(pid), time.monotonic(), 0, [], []
        while (now_s := time.monotonic()) < start_s + arguments.seconds:
            message = read(subscriber)
            poses += len(message.persons)
            ages_ms.append((time.time_ns() - message.t_capture_ns) / 1e6)
            hops.append(message.hop)
        cpu_s = cpu_seconds(pid) - cpu_s
    finally:
        subscriber.close(0)
    p50, p99 = np.percentile(ages_ms, [50, 99])
    return {
        "poses_per_s": poses / (now_s - start_s),
        "cpu_us_per_pose": 1e6 * cpu_s / poses,
        "hop": float(np.mean(hops)),
        "age_p50_ms": float(p50),
        "age_p99_ms": float(p99),
    }


class PoseMessage(msgspec.Struct):
    """What this benchmark reads of a message."""

    t_capture_ns: int
    hop: int
    persons: list[msgspec.Raw]


DECODER = msgspec.msgpack.Decoder(PoseMessage)


def read(subscriber: "zmq.Socket[bytes]") -> PoseMessage:
    return DECODER.decode(subscriber.recv_multipart()[1])


def send(arguments: argparse.Namespace) -> None:
    """Keypoints of walking people, side by side in every image, at a steady rate that does not drift."""
    sender: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUB)
    sender.set_hwm(10_000)
    sender.bind(arguments.send)
    random, encode = np.random.default_rng(0), msgspec.msgpack.Encoder().encode
    body = random.uniform(0, 150, (17, 2))
    places = np.arange(arguments.people)[:, None, None] * (170.0, 0.0) + 50
    sway = 10 * np.sin(np.arange(64) / 64 * 2 * np.pi)[:, None, None, None]
    noise = random.normal(0, 1, (64, arguments.people, 17, 2))
    xy = body + places + sway + noise
    kp = np.concatenate([xy, np.full((*xy.shape[:3], 1), 0.9)], axis=3).astype("<f4")
    persons = [
        [{"kp": kp[tick, person].tobytes(), "id": f"a{person}" if arguments.ids else None}
         for person in range(arguments.people)]
        for tick in range(64)
    ]  # fmt: skip
    size_wh = (170 * arguments.people + 300, 400)
    topics = [f"keypoints2d/v1/cam{camera}/".encode() for camera in range(arguments.cameras)]
    document = {"v": 1, "schema": "keypoints2d", "size_wh": size_wh, "skeleton": "h36m17"}
    start_s, count = time.monotonic(), 0
    while True:
        tick, camera = divmod(count, arguments.cameras)
        changes = {"source": f"cam{camera}", "seq": tick, "t_capture_ns": time.time_ns()}
        sender.send_multipart([topics[camera], encode(document | changes | {"persons": persons[tick % 64]})])
        count += 1
        wait_s = start_s + count / arguments.cameras / arguments.rate_hz - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)


def report(arguments: argparse.Namespace, results: dict[str, list[dict[str, float]]]) -> None:
    """Medians over the rounds, and their ratios to the first version."""
    wanted = arguments.cameras * arguments.people * arguments.rate_hz
    print(
        f"{arguments.cameras} cameras x {arguments.people} persons x {arguments.rate_hz:g} Hz = "
        f"{wanted:.0f} poses per second wanted; lifter {arguments.lifter}, {arguments.rounds} rounds"
    )
    first: dict[str, float] = {}
    for tree, runs in results.items():
        median = {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
        first = first or median
        ratio = {key: median[key] / first[key] for key in median}
        print(
            f"{tree:<28} {median['poses_per_s']:7.0f} poses/s   "
            f"CPU per pose {median['cpu_us_per_pose']:6.0f} us ({ratio['cpu_us_per_pose']:.2f})   "
            f"poses per CPU second {1e6 / median['cpu_us_per_pose']:6.0f}   "
            f"hop {median['hop']:.1f}   age p50 {median['age_p50_ms']:.2f} ms ({ratio['age_p50_ms']:.2f}), "
            f"p99 {median['age_p99_ms']:.2f} ms ({ratio['age_p99_ms']:.2f})"
        )
    print(json.dumps({"benchmark": "poses_per_second", "wanted": wanted, "runs": results}))


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process have used, to the nanosecond."""
    folder = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in folder.iterdir()) / 1e9


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("trees", nargs="*", type=lambda text: Path(text).resolve(), default=[here])
    parser.add_argument("--cameras", type=int, default=60)
    parser.add_argument("--people", type=int, default=1)
    parser.add_argument("--rate-hz", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lifter", choices=("tiny", "instant"), default="instant")
    parser.add_argument("--ids", action="store_true")
    parser.add_argument("--send", metavar="ENDPOINT", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
