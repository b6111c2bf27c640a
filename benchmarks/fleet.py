"""Machines, network and cost of 100 to 10 000 cameras, on paper, from measured constants.

    python benchmarks/fleet.py [--cameras 100 1000 10000] [--people 1] [--rate-hz 30] [--hop 5]

Every constant below says where it was measured, or that it is assumed. Nothing of the sizes in the table has
been run. Prints a Markdown table, then one JSON line.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Constants:
    """Measured on two cores of an Intel Xeon with AMX unless marked as assumed."""

    detect_ms: float = 18.0  # MediaPipe, one person at 640 x 480, one core
    pose_us: float = 350.0  # pipeline per pose at a hop of 5, without the lifter (two quiet cores)
    relay_us: float = 39.0  # supervisor per pose, ZeroMQ sinks alone (benchmarks/workers.py)
    window_client_us: float = 60.0  # to send a window and read its poses (benchmarks/lifter_service.py)
    window_service_us: float = 33.0  # the same in the service, 16 windows per request
    window_cpu_ms: float = 42.0  # `small` with oneDNN, one core, busy machine (docs/speed.md)
    window_gpu_ms: float = 0.25  # ASSUMED: `small`, large batches, a data centre's GPU
    window_bytes: int = 49_572
    poses_bytes: int = 2_448  # the answer for a window at a hop of 5
    pose_bytes: int = 730  # a published message of one person
    keypoints_bytes: int = 319  # a keypoints2d message of one person
    worker_mib: float = 465.0  # with torch and weights
    video_mbit: float = 4.0  # ASSUMED: H.264, 720p, 30 Hz
    use: float = 0.5  # ASSUMED: share of a core or GPU that planning counts on
    machine_cores: int = 16  # ASSUMED
    core_hour: float = 0.04  # ASSUMED, dollars
    gpu_hour: float = 2.5  # ASSUMED, dollars


def fleet(cameras: int, people: int, rate_hz: float, hop: int, c: Constants) -> dict[str, Any]:
    """Needs of `cameras`, with the lifter on GPUs behind lifter services and detection at the cameras."""
    poses = cameras * people * rate_hz
    windows = poses / hop
    cell_cameras = max(1, int(c.use * 1e6 / c.relay_us / (people * rate_hz)))  # one relay carries these
    cells = math.ceil(cameras / cell_cameras)
    worker_cores = poses * (c.pose_us + c.window_client_us / hop) / 1e6 / c.use
    workers = math.ceil(worker_cores)
    service_cores = windows * c.window_service_us / 1e6 / c.use
    gpus = math.ceil(windows * c.window_gpu_ms / 1e3 / c.use)
    services = max(gpus, math.ceil(service_cores))
    spares = relays = cells
    cores = workers + spares + relays + services
    machines = math.ceil(cores / c.machine_cores)
    return {
        "cameras": cameras,
        "poses_per_s": round(poses),
        "cells": cells,
        "cameras_per_cell": min(cameras, cell_cameras),
        "workers": workers,
        "lifter_services": services,
        "gpus": gpus,
        "cores": cores,
        "machines": machines,
        "memory_gib": round((workers + spares) * c.worker_mib / 1024),
        "cores_to_lift_on_cpus": math.ceil(windows * c.window_cpu_ms / 1e3 / c.use),
        "cores_to_detect_on_cpus": math.ceil(cameras * rate_hz * c.detect_ms / 1e3 / c.use),
        "video_gbit_s": round(cameras * c.video_mbit / 1e3, 1),
        "keypoints_mbit_s": round(cameras * rate_hz * people * c.keypoints_bytes * 8 / 1e6),
        "windows_gbit_s": round(windows * (c.window_bytes + c.poses_bytes) * 8 / 1e9, 1),
        "poses_mbit_s_per_subscriber": round(poses * c.pose_bytes * 8 / 1e6),
        "dollars_per_hour": round(cores * c.core_hour + gpus * c.gpu_hour, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cameras", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--people", type=int, default=1)
    parser.add_argument("--rate-hz", type=float, default=30.0)
    parser.add_argument("--hop", type=int, default=5)
    arguments = parser.parse_args()
    constants = Constants()
    fleets = [
        fleet(cameras, arguments.people, arguments.rate_hz, arguments.hop, constants)
        for cameras in arguments.cameras
    ]
    for key in fleets[0]:
        print(f"| {key.replace('_', ' ')} | " + " | ".join(f"{one[key]:,}" for one in fleets) + " |")
    print(json.dumps({"benchmark": "fleet", "constants": asdict(constants), "fleets": fleets}))


if __name__ == "__main__":
    main()
