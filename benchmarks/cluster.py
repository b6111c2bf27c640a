"""What a subscriber misses when a worker or a machine of a Ray cluster fails, or is emptied.

    python benchmarks/cluster.py [--cameras 40] [--rate-hz 30] [--seconds 10] [--workers 2] [--machines 2]
                                 [--spares 2]

Starts a Ray cluster on this machine, a head without room for workers and `--machines` others, each with its
own processes, and runs `poselift cluster run` on it with the cameras of benchmarks/workers.py. Then, in turn:
a worker is killed (SIGKILL); a worker is frozen (SIGSTOP) and continued 3 s later; a machine is added
and another one emptied by `poselift cluster drain`; a machine's raylet is killed. Counts over the moved
cameras, as in benchmarks/workers.py: gap, poses missing, published twice, out of order, persons,
announcements of loss. Prints a table, then one JSON line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline import memory_mib, tiny
from workers import Node, failover, freeze, kill, throughput

from lifter.machine import machine
from stream.cluster.connect import environment

os.environ.update(environment())

from ray.cluster_utils import Cluster  # after its settings: Ray reads them when imported

STORE_BYTES = 80 << 20


def parent(pid: int) -> int:
    """Process id of the raylet that started a worker."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ray_memory_mib(cluster: Any) -> dict[str, float]:
    """Memory of Ray's own processes, by name, summed over the machines."""
    total: dict[str, float] = {}
    for node in cluster.list_all_nodes():
        for name, processes in node.all_processes.items():
            for process in processes:
                if process.process.poll() is None:
                    total[name] = total.get(name, 0.0) + memory_mib(process.process.pid)
    return {name: round(mib) for name, mib in total.items()}


def drained(cluster: Any, node: Node, pid: int) -> None:
    """Add a machine and empty that of a worker."""
    cluster.add_node(num_cpus=64, object_store_memory=STORE_BYTES)
    raylet = parent(pid)
    (busy,) = (m for m in cluster.list_all_nodes() if m.all_processes["raylet"][0].process.pid == raylet)
    subprocess.run(
        [sys.executable, "-m", "stream.cli", "cluster", "drain", str(node.path), busy.node_id],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> None:
    arguments = parse()
    start_s = time.monotonic()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False},
    )
    for _ in range(arguments.machines):
        cluster.add_node(num_cpus=64, object_store_memory=STORE_BYTES)
    result: dict[str, Any] = {
        "benchmark": "cluster",
        "machine": machine().text(),
        "cameras": arguments.cameras,
        "rate_hz": arguments.rate_hz,
        "cluster_start_s": round(time.monotonic() - start_s, 1),
    }
    print(f"{machine().text()}\n{arguments.cameras} cameras at {arguments.rate_hz:g} Hz, one person each")
    failures = {
        "killed": kill,
        "frozen": freeze,
        "drained": lambda pid: drained(cluster, node, pid),
        "machine_killed": lambda pid: kill(parent(pid)),
    }
    sections = {"cluster": {"address": cluster.address, "worker_cpus": 0.5, "spares": arguments.spares}}
    with tempfile.TemporaryDirectory() as name:
        weights, start_s = tiny(Path(name)), time.monotonic()
        command = ("cluster", "run")
        with Node(arguments, Path(name), weights, arguments.workers, command, sections) as node:
            node.wait_for(lambda: len(node.sessions()) == len(node.cameras))
            result["start_s"] = round(time.monotonic() - start_s, 1)
            result["load"] = throughput(node, arguments.workers)
            pids = set(node.workers().values())
            result["worker_mib"] = [round(memory_mib(pid)) for pid in pids]
            result["ray_mib"] = ray_memory_mib(cluster)
            print(
                {key: result[key] for key in ("cluster_start_s", "start_s", "load", "worker_mib", "ray_mib")}
            )
            for label in arguments.failures:
                result[label] = failover(node, failures[label])
                print(f"{label}: {result[label]}", flush=True)
    cluster.shutdown()
    print(json.dumps(result))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cameras", type=int, default=40)
    parser.add_argument("--rate-hz", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--machines", type=int, default=2)
    parser.add_argument("--spares", type=int, default=2)
    names = ["killed", "frozen", "drained", "machine_killed"]
    parser.add_argument("--failures", nargs="*", default=names, choices=names)
    return parser.parse_args()


if __name__ == "__main__":
    main()
