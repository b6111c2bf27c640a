"""A real Ray cluster on this machine: workers and machines that fail, freeze and are emptied under load."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from stream.cluster.connect import environment
from tests.sinks.node import Link
from tests.stream.running_node import (
    CAMERAS,
    Node,
    assert_in_order,
    assert_none_twice,
    check_takeover,
    ids,
    is_complete,
    is_running,
    lost_ids,
)

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: poselift[ray]")

RAY = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "40",  # how long it waits for a head that is gone
    "RAY_prestart_worker_first_driver": "0",  # no idle processes
    "RAY_enable_worker_prestart": "0",
}
STORE = {"object_store_memory": 80 << 20}
CLUSTER = """
cluster:
  {{address: "{address}", host: "{host}", near: {{cam0: hall, cam1: hall}}, return_s: 1, lease_s: 6}}
"""


class Machines:
    """A head without room for workers, and machines that are added and killed.

    link: to a network of its own, on which `add_behind_link` starts a machine; None without the right to one.
    """

    def __init__(self, stack: ExitStack) -> None:
        os.environ.update(environment() | RAY)
        try:
            self.link: Link | None = Link(stack)
        except pytest.skip.Exception:
            self.link = None
        self.host = self.link.host if self.link else "127.0.0.1"
        head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": self.host, **STORE}
        self.cluster: Any = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        self.hall = self.add("hall")

    def add(self, near: str | None = None) -> Any:
        labels = {"near": near} if near else {}
        return self.cluster.add_node(num_cpus=4, node_ip_address=self.host, labels=labels, **STORE)

    def add_behind_link(self, near: str) -> None:
        """A machine with room for a single worker, so that the spare is elsewhere."""
        assert self.link is not None
        options = f"--node-ip-address={self.link.node_host} --num-cpus=1 --labels=near={near}"
        start = ["start", f"--address={self.cluster.address}", *options.split(), "--disable-usage-stats"]
        ray = [sys.executable, "-m", "ray.scripts.scripts"]
        subprocess.run([*self.link.command, *ray, *start], check=True, stdout=subprocess.DEVNULL)

    def kill_machine_of(self, worker: int) -> None:
        raylet = machine_of(worker)
        (machine,) = (m for m in self.cluster.list_all_nodes() if raylet_pid(m) == raylet)
        machine.all_processes["raylet"][0].process.kill()

    def kill_machine_behind_link(self) -> None:
        if self.link is None:
            return
        command = ["ip", "netns", "pids", self.link.command[-1]]
        pids = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        for pid in pids.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def close(self) -> None:
        self.kill_machine_behind_link()
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with ExitStack() as stack:
        machines = Machines(stack)
        stack.callback(machines.close)
        yield machines


@pytest.fixture(scope="module")
def lifter(machines: Machines, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a lifter service: workers that use one start without torch, in a fraction of the time."""
    config = tmp_path_factory.mktemp("lifter") / "lifter.yaml"
    config.write_text(
        f"lifter: {{weights: {tiny_weights}, device: cpu, threads: 1}}\n"
        "sources: {unused: {type: synthetic}}\nsinks: {unused_too: {type: memory}}\n"
    )
    options = ["--host", machines.host, "--port", "0", *(["--insecure"] if machines.link else [])]
    command = [sys.executable, "-m", "stream.cli", "serve-lifter", str(config), *options]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    yield service.stdout.readline().split()[-1]
    service.kill()
    service.wait()


@pytest.fixture(scope="module")
def node(
    machines: Machines, lifter: str, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    machines.add()
    node = Node(
        tiny_weights,
        tmp_path_factory.mktemp("cluster"),
        command=("cluster", "run"),
        more=CLUSTER.format(address=machines.cluster.address, host=machines.host),
        host=machines.host,
        lifter=f', endpoint: "{lifter}", timeout_ms: 10000',
    )
    yield node
    node.close()


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


def test_cameras_are_added_and_removed_while_the_others_go_on(node: Node):
    node.wait_for(lambda: is_complete(node) and node.has_spare())
    sessions = {name: node.session(name) for name in CAMERAS}
    node.write_config(CAMERAS[:3])
    node.process.send_signal(signal.SIGHUP)
    node.wait_for(lambda: "cam3" not in node.report["states"])
    before = len(node.frames("cam3"))
    assert sorted(ids(node.frames("cam3"))) == sorted(lost_ids(node.frames("cam3")))
    node.write_config(CAMERAS)
    node.process.send_signal(signal.SIGHUP)
    node.wait_for(lambda: len(node.frames("cam3")) > before + 15 and is_complete(node))
    for name in CAMERAS[:3]:
        frames = [frame for frame in node.frames(name) if frame["session"] == sessions[name]]
        seqs = [frame["seq"] for frame in frames]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "no frame of another camera is missing"
        assert node.session(name) == sessions[name]
    assert_none_twice(node.frames("cam3"))


def test_sources_leave_a_machine_before_maintenance_and_new_ones_take_them(node: Node, machines: Machines):
    machines.add_behind_link("hall") if machines.link else machines.add("hall")
    node.wait_for(lambda: is_complete(node) and node.has_spare())
    machine, raylet, before = machines.hall, raylet_pid(machines.hall), node.session("cam0")
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


def test_a_machine_that_is_cut_off_stops_publishing_by_itself(node: Node, machines: Machines):
    if machines.link is None:
        pytest.skip("cutting a network needs root and the program ip")
    node.wait_for(lambda: is_complete(node) and behind_link(node.worker_of("cam0")))
    cut_off = check_takeover(node, "cam0", lambda pid: machines.link.cut())
    node.wait_for(lambda: not is_running(cut_off))
    machines.kill_machine_behind_link()
    machines.link.restore()
    for name in CAMERAS:
        assert_in_order(node.frames(name))


def test_sources_go_back_to_their_place_once_it_has_a_machine_again(node: Node, machines: Machines):
    dead = check_takeover(node, "cam0", machines.kill_machine_of)
    node.wait_for(lambda: not is_running(dead))
    hall = raylet_pid(machines.add("hall"))
    node.wait_for(lambda: is_complete(node) and machine_of(node.worker_of("cam0")) == hall)
    for name in CAMERAS:
        assert_in_order(node.frames(name))


def test_a_supervisor_that_is_killed_leaves_no_workers_and_can_be_started_again(node: Node):
    node.wait_for(lambda: is_complete(node) and node.has_spare())
    workers = [node.worker_of(name) for name in CAMERAS]
    sessions = {name: node.session(name) for name in CAMERAS}
    node.process.kill()
    node.process.wait()
    node.process = node.start()
    for pid in workers:
        node.wait_for(lambda pid=pid: not is_running(pid))
    node.wait_for(lambda: all(node.session(name) != sessions[name] for name in CAMERAS))
    for name in CAMERAS:
        assert_in_order(node.frames(name))


def test_without_its_head_a_cluster_goes_on_for_a_while_and_ends_with_one_error(
    node: Node, machines: Machines
):
    node.wait_for(lambda: is_complete(node) and node.has_spare())
    sessions = {name: node.session(name) for name in CAMERAS}
    machines.cluster.head_node.kill_gcs_server()
    last = len(node.frames("cam0"))
    node.wait_for(lambda: len(node.frames("cam0")) > last + 60)
    assert {name: node.session(name) for name in CAMERAS} == sessions
    output = node.wait_for_end()
    assert node.process.returncode == 1, output
    assert output.count("error: cluster: Ray's head has not answered for") == 1
    assert "Traceback" not in output


def behind_link(pid: int) -> bool:
    """Whether a process is in another network namespace."""
    return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


def raylet_pid(machine: Any) -> int:
    return int(machine.all_processes["raylet"][0].process.pid)
