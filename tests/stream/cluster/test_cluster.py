"""A real Ray cluster on this machine: workers and machines that fail, freeze and are emptied under load."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.cluster.connect import environment
from tests.stream.running_node import (
    CAMERAS,
    Node,
    assert_in_order,
    check_takeover,
    is_complete,
    is_running,
)

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: poselift[ray]")

MACHINE = {"num_cpus": 4, "object_store_memory": 80 << 20}
CLUSTER = """
cluster: {{address: "{address}", worker_cpus: 1, near: {{cam0: hall, cam1: hall}}}}
"""


class Machines:
    """A head without room for workers, and machines that are added and killed."""

    def __init__(self) -> None:
        os.environ.update(environment())
        head = {"num_cpus": 0, "object_store_memory": 80 << 20, "include_dashboard": False}
        self.cluster: Any = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        self.hall = self.add("hall")

    def add(self, near: str | None = None) -> Any:
        return self.cluster.add_node(**MACHINE, labels={"near": near} if near else {})


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    machines = Machines()
    yield machines
    machines.cluster.shutdown()


@pytest.fixture(scope="module")
def node(machines: Machines, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    machines.add()
    folder = tmp_path_factory.mktemp("cluster")
    extra = CLUSTER.format(address=machines.cluster.address)
    node = Node(tiny_weights, folder, command=("cluster", "run"), more=extra)
    reader = threading.Thread(target=lambda: output.extend(node.process.stdout or []))
    output: list[str] = []
    reader.start()
    yield node
    node.process.send_signal(signal.SIGINT)
    returncode = node.process.wait(60)
    node.close()
    reader.join()
    assert returncode == 0, "".join(output)


def machine_of(pid: int) -> int:
    """Process id of the raylet, Ray's process of a machine, that started a worker."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def poselift(*arguments: str) -> str:
    command = [sys.executable, "-m", "stream.cli", "cluster", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_sources_run_near_the_place_they_are_given(node: Node, machines: Machines):
    node.wait_for(lambda: is_complete(node))
    hall = raylet_pid(machines.hall)
    assert [machine_of(node.worker_of(name)) for name in ("cam0", "cam1")] == [hall, hall]


def test_a_killed_worker_is_replaced_and_its_people_are_lost_once(node: Node):
    check_takeover(node, "cam0", lambda pid: os.kill(pid, signal.SIGKILL))


def test_a_frozen_worker_is_replaced_and_ends_by_itself_when_it_goes_on(node: Node):
    frozen = check_takeover(node, "cam2", lambda pid: os.kill(pid, signal.SIGSTOP))
    if is_running(frozen):
        os.kill(frozen, signal.SIGCONT)
    node.wait_for(lambda: not is_running(frozen))
    for name in CAMERAS:
        assert_in_order(node.frames(name))


def test_sources_leave_a_machine_before_maintenance_and_new_ones_take_them(node: Node, machines: Machines):
    machines.add("hall")
    node.wait_for(lambda: is_complete(node) and node.has_spare())
    before, raylet = node.session("cam0"), machine_of(node.worker_of("cam0"))
    (machine,) = (m for m in machines.cluster.list_all_nodes() if raylet_pid(m) == raylet)
    poselift("drain", str(node.config), machine.node_id)
    node.wait_for(lambda: node.session("cam0") != before and is_complete(node))
    node.wait_for(lambda: is_complete(node) and machine_of(node.worker_of("cam0")) != raylet)
    assert node.wait_for(lambda: node.report["counters"].get("workers.moved"))
    assert f"{machine.node_id[:12]}: 4 CPUs, near hall, gets no workers" in poselift(
        "status", str(node.config)
    )
    poselift("drain", str(node.config), machine.node_id, "--back")
    for name in CAMERAS:
        assert_in_order(node.frames(name))


def test_the_workers_of_a_machine_that_dies_are_replaced_on_another_one(node: Node, machines: Machines):
    def kill_machine(pid: int) -> None:
        raylet = machine_of(pid)
        (machine,) = (m for m in machines.cluster.list_all_nodes() if raylet_pid(m) == raylet)
        machine.all_processes["raylet"][0].process.kill()

    dead = check_takeover(node, "cam3", kill_machine)
    node.wait_for(lambda: not is_running(dead))


def raylet_pid(machine: Any) -> int:
    return int(machine.all_processes["raylet"][0].process.pid)
