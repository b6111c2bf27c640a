"""Where workers go and how machines join, without a cluster."""

import socket
import subprocess
import sys
from typing import Any

import pytest

from stream.cluster.connect import connect, require_ray
from stream.cluster.hosts import RayHosts, placement
from stream.cluster.machine import start_arguments
from stream.config.cluster import ClusterSettings
from stream.config.load import resolve
from stream.errors import ConfigError


def machine(name: str, near: str | None = None, alive: bool = True) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Labels": {"near": near} if near else {}}


@pytest.mark.parametrize(
    ("near", "leaving", "machines", "expected"),
    [
        ("", (), [machine("a")], {}),
        ("hall", (), [machine("a", "hall"), machine("b")], {"near": "hall"}),
        ("hall", (), [machine("a", "hall", alive=False), machine("b")], {}),
        ("hall", ("a",), [machine("a", "hall"), machine("b")], {"ray.io/node-id": "!in(a)"}),
        ("", ("a", "b"), [machine("a"), machine("b"), machine("c")], {"ray.io/node-id": "!in(a,b)"}),
        ("", ("a",), [machine("a")], {}),
    ],
)
def test_workers_go_near_their_cameras_and_to_no_machine_that_is_emptied(near, leaving, machines, expected):
    options = placement(ClusterSettings(worker_cpus=2.0), near, frozenset(leaving), machines)
    assert options["label_selector"] == expected
    assert options["num_cpus"] == 2.0
    assert options["max_restarts"] == 0


def config(workers: int, **cluster):
    sources = {f"cam{number}": {"type": "synthetic"} for number in range(6)}
    sinks = {"out": {"type": "memory"}}
    return resolve({"workers": workers, "sources": sources, "sinks": sinks, "cluster": cluster})


def test_sources_are_divided_by_place_and_then_evenly():
    six = config(3, near={"cam1": "hall", "cam4": "hall"})
    shares = RayHosts(six).shares(six)
    assert [(share.name, share.near, share.sources) for share in shares] == [
        ("worker-1", "", ("cam0", "cam3")),
        ("worker-2", "", ("cam2", "cam5")),
        ("worker-3", "hall", ("cam1", "cam4")),
    ]


def test_every_place_has_a_worker_also_when_there_are_more_places_than_workers():
    six = config(1, near={"cam1": "hall", "cam4": "gate"})
    shares = RayHosts(six).shares(six)
    assert [(share.near, share.sources) for share in shares] == [
        ("", ("cam0", "cam2", "cam3", "cam5")),
        ("hall", ("cam1",)),
        ("gate", ("cam4",)),
    ]


def test_a_head_and_other_machines_start_ray_without_telemetry_and_dashboard():
    settings = ClusterSettings(address="10.0.0.1:6379")
    common = ["start", "--disable-usage-stats", "--object-store-memory=83886080"]
    head = ["--head", "--node-ip-address=10.0.0.1", "--port=6379", "--include-dashboard=false"]
    assert start_arguments(settings, True, None, None, None) == [*common, *head]
    assert start_arguments(settings, False, "hall", 4.0, 1.0) == [
        *common,
        "--address=10.0.0.1:6379",
        "--labels=near=hall",
        "--num-cpus=4",
        "--num-gpus=1",
    ]
    with pytest.raises(ConfigError, match="expected HOST:PORT of the head"):
        start_arguments(ClusterSettings(), True, None, None, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"address": "head"}, "cluster.address: expected HOST:PORT or auto"),
        ({"worker_cpus": 0}, "expected worker_cpus above 0"),
        ({"lease_s": 0.1}, "cluster.lease_s: expected 0.5 to 600 seconds"),
        ({"return_s": -1}, "cluster.return_s: expected 0 to 86400 seconds"),
        ({"near": {"cam9": "hall"}}, "cluster.near: 'cam9' is not one of cam0"),
    ],
)
def test_wrong_settings_are_refused_with_the_remedy(changes, expected):
    with pytest.raises(ConfigError, match=expected):
        config(1, **changes)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'poselift\[ray\]'"):
        require_ray()


def test_the_command_and_a_plain_run_do_not_import_ray():
    modules = "stream.cli.main, stream.runtime.service, stream.cluster.service"
    script = f"import sys, {modules}; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_address_without_a_cluster_is_refused_at_once(monkeypatch):
    monkeypatch.setattr("stream.cluster.connect.require_ray", lambda: None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"  # bound, and not listening
        with pytest.raises(ConfigError, match=f"no program listens at {address}: .*cluster up --head"):
            connect(address)
