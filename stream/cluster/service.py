"""Run a config on a Ray cluster, show its state, and empty machines before maintenance."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stream.cluster.board import board
from stream.cluster.connect import connect, disconnect, nodes, ray_module
from stream.cluster.hosts import RayHosts
from stream.cluster.machine_list import NEAR
from stream.config.load import Config
from stream.errors import ConfigError
from stream.health import health_line
from stream.runtime.service import run_workers


def run_cluster(
    config: Config, print_line: Callable[[str], None], reload: Callable[[], Config] | None = None
) -> None:
    """Run `config` with its workers on the cluster; arguments and errors are those of `service.run`."""
    run_workers(config, RayHosts(config), print_line, reload)


def status_lines(config: Config) -> list[str]:
    """Machines, workers and health of a running cluster. Raises ConfigError without one."""
    ray = ray_module()
    with _connected(config):
        report, leaving = ray.get(board(config.node).read.remote())
        lines = [
            f"{node['NodeManagerAddress']} {node['NodeID'][:12]}: {_state(node, leaving)}" for node in nodes()
        ]
    states = report.get("states", {})
    lines += [
        f"{name}: {state['state']}, {state['detail']}"
        for name, state in states.items()
        if name.startswith("worker-")
    ]
    return [*lines, health_line(report)] if report else [*lines, "no report yet"]


def empty_machine(config: Config, machine: str, leave: bool) -> str:
    """Move all workers away from a machine, or use it again; returns its id.

    machine: its address, or the first characters of its id.
    """
    ray = ray_module()
    with _connected(config):
        found = [
            node
            for node in nodes()
            if node["Alive"] and (node["NodeManagerAddress"] == machine or node["NodeID"].startswith(machine))
        ]
        if len(found) != 1:
            names = ", ".join(f"{node['NodeManagerAddress']} {node['NodeID'][:12]}" for node in nodes())
            raise ConfigError(
                f"cluster: expected one machine of {names}, got {machine!r}, which fits {len(found)}"
            )
        ray.get(board(config.node).empty.remote(found[0]["NodeID"], leave))
        return str(found[0]["NodeID"])


@contextmanager
def _connected(config: Config) -> Iterator[None]:
    connect(config.cluster.address)
    try:
        yield
    finally:
        disconnect()


def _state(node: dict[str, Any], leaving: frozenset[str]) -> str:
    if not node["Alive"]:
        return "gone"
    cpus = node["Resources"].get("CPU", 0.0)
    near = node.get("Labels", {}).get(NEAR)
    parts = [
        f"{cpus:g} CPUs",
        f"near {near}" if near else "",
        "gets no workers" if node["NodeID"] in leaving else "",
    ]
    return ", ".join(part for part in parts if part)
