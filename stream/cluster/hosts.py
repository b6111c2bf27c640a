"""Places the workers of a supervisor on the machines of a Ray cluster; Ray chooses the machine."""

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from stream.clock import Clock, SystemClock
from stream.cluster.actor import WorkerActor, version
from stream.cluster.board import Board
from stream.cluster.connect import connect, disconnect, ray_module
from stream.cluster.machine_list import NEAR, MachineList
from stream.cluster.ray_worker import Actor, RayWorker
from stream.config.cluster import ClusterSettings
from stream.config.load import Config
from stream.config.workers import WorkerRange
from stream.errors import ConfigError
from stream.runtime.share import Share, divide
from stream.runtime.worker_host import WorkerHost

log = logging.getLogger("poselift")

_NODE_ID = "ray.io/node-id"  # label that Ray gives every machine


class RayHosts:
    """Runs the workers of `config` as actors of a Ray cluster, for a `Supervisor`."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self._settings = config.cluster
        self.spares = self._settings.spares
        self._name = config.node
        self._clock = clock or SystemClock()
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ray")
        self._resources = ExitStack()
        self._admitted: set[bytes] = set()  # public keys of the workers
        self._board: Board | None = None
        self._machines = MachineList(self._clock)

    def open(self) -> None:
        """Connect to the cluster. Raises ConfigError when there is none at the address."""
        with ExitStack() as resources:
            connect(self._settings.address)
            resources.callback(self._disconnect)
            self._machines.open()
            resources.callback(self._machines.close)
            self._board = Board(self._name)
            resources.callback(self._zmq.destroy, linger=0)
            authenticator = ThreadAuthenticator(self._zmq)
            authenticator.start()
            resources.callback(authenticator.stop)
            authenticator.configure_curve_callback(credentials_provider=OnlyWorkers(self._admitted))
            resources.callback(self._end_calls)
            self._resources = resources.pop_all()

    def close(self) -> None:
        self._resources.close()

    def _disconnect(self) -> None:
        if not self._machines.head_is_gone:
            disconnect()

    def _end_calls(self) -> None:
        """Carry out the calls to Ray that are under way, unless there is no head to answer them."""
        gone = self._machines.head_is_gone
        self._executor.shutdown(wait=not gone, cancel_futures=gone)

    def turn(self, report: dict[str, object]) -> None:
        self._machines.turn()
        if self._board is not None:
            self._board.exchange(report)

    def shares(self, config: Config) -> list[Share]:
        """Sources divided by the place they must be near, then evenly; each place has at least one worker."""
        places: dict[str, list[str]] = {}
        for name in config.sources:
            places.setdefault(self.near(config, name), []).append(name)
        count = self._worker_count(config)
        shares: list[Share] = []
        for near, names in places.items():
            part = max(1, min(len(names), round(count * len(names) / len(config.sources))))
            for share in divide(names, part):
                shares.append(Share(f"worker-{len(shares) + 1}", share.sources, near))
        return shares

    def near(self, config: Config, source: str) -> str:
        return config.cluster.near.get(source, "")

    def threads(self, config: Config) -> int:
        return max(1, int(self._settings.worker_cpus))

    def start(self, number: int, config: Config, near: str) -> RayWorker:
        worker = RayWorker(number, near, self._zmq, self._clock, self._settings, self._admitted)
        link = worker.link()
        leaving = self._board.leaving if self._board is not None else frozenset()
        worker.avoided = leaving

        def create() -> Actor:
            ray = ray_module()
            options = placement(self._settings, near, leaving, ray.nodes())
            actor = ray.remote(WorkerActor).options(**options).remote()
            level = logging.getLogger().getEffectiveLevel()
            place, result = actor.place.remote(), actor.run.remote(config, link, level)
            return Actor(actor, place.future(), result.future())

        worker.begin(self._executor, create)
        return worker

    def must_leave(self, worker: WorkerHost) -> bool:
        """Whether its machine is emptied, or its place has machines again and this is none of them."""
        if self._board is None or not isinstance(worker, RayWorker):
            return False
        if worker.where is None:  # Ray looks for a machine by a list that may be old
            return worker.avoided != self._board.leaving
        if worker.where.version != version():
            raise ConfigError(
                f"cluster: {worker.where.host} has poselift {worker.where.version or 'unknown'}, this "
                f"machine {version() or 'unknown'}; install the same version on all machines"
            )
        leaving = self._board.leaving
        if worker.where.node in leaving:
            return True
        return self._machines.returned(worker.near, worker.where.node, leaving, self._settings.return_s)

    def _worker_count(self, config: Config) -> int:
        if config.workers != "auto":
            return config.workers.min if isinstance(config.workers, WorkerRange) else config.workers
        ray = ray_module()
        room = int(ray.cluster_resources().get("CPU", 1.0) / self._settings.worker_cpus)
        return max(1, min(len(config.sources), room - 1))  # one place is for the spare


class OnlyWorkers:
    """Admits the keys that the supervisor gave its own workers."""

    def __init__(self, admitted: set[bytes]) -> None:
        self._admitted = admitted

    def callback(self, domain: str, key: bytes) -> bool:
        return key in self._admitted


def placement(
    settings: ClusterSettings, near: str, leaving: frozenset[str], nodes: list[dict[str, Any]]
) -> dict[str, Any]:
    """Options of an actor: resources, label, and no machine of `leaving` unless only those remain."""
    alive = [node for node in nodes if node["Alive"] and node["NodeID"] not in leaving]
    selector = {}
    if near and any(node.get("Labels", {}).get(NEAR) == near for node in alive):
        selector[NEAR] = near
    elif near:
        log.warning("no machine with the label %s=%s takes workers; its sources run anywhere", NEAR, near)
    if leaving and alive:
        selector[_NODE_ID] = f"!in({','.join(sorted(leaving))})"
    return {
        "num_cpus": settings.worker_cpus,
        "num_gpus": settings.worker_gpus,
        "max_restarts": 0,
        "scheduling_strategy": "SPREAD",
        "label_selector": selector,
    }
