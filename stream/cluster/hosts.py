"""Places the workers of a supervisor on the machines of a Ray cluster.

Ray chooses a machine, starts the process and notices its end. Messages, orders and heartbeats have their own
connections, so a failure is noticed without Ray and running workers do not need its head. Calls to Ray that
may wait for the head are made in a thread.
"""

import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

import zmq
from zmq.auth.thread import ThreadAuthenticator

from stream.clock import Clock, SystemClock
from stream.cluster.actor import Link, Place, WorkerActor, version
from stream.cluster.board import Board
from stream.cluster.connect import connect, disconnect, ray_module
from stream.cluster.lease import LEASE, MAX_SILENCE_S, ORDER
from stream.config.cluster import ClusterSettings
from stream.config.load import Config
from stream.config.workers import WorkerRange
from stream.errors import ConfigError
from stream.runtime.share import Share, divide
from stream.runtime.worker import Order
from stream.runtime.worker_host import WorkerHost
from stream.runtime.worker_link import REPORT, LinkKeys

log = logging.getLogger("poselift")

NEAR = "near"  # label of machines
_NODE_ID = "ray.io/node-id"  # label that Ray gives every machine
_ALIVE = REPORT + b"alive"
_GONE_NS = 300_000_000  # how long a broken connection waits for Ray's word on how the worker ended
_KILLED = -9
_PLACED_NS = (
    60_000_000_000  # a worker without a machine for so long is placed anew: the machines may have changed
)


class RayWorker(WorkerHost):
    """A worker in a Ray actor; `begin` starts it."""

    max_silence_s = MAX_SILENCE_S

    def __init__(
        self,
        number: int,
        near: str,
        context: "zmq.Context[zmq.Socket[bytes]]",
        clock: Clock,
        host: str,
        admitted: set[bytes],
    ) -> None:
        super().__init__(number, near, context, clock)
        # Keys of its own: a worker that was given up and comes back cannot connect to the socket of another
        # one, which may have the same port by then.
        server_public, server_secret = zmq.curve_keypair()
        self._keys = LinkKeys(*zmq.curve_keypair(), server_public)
        self._admitted = admitted
        admitted.add(self._keys.public)
        self.where: Place | None = None
        self._begun: Future[_Actor] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._create: Callable[[], _Actor] | None = None
        self._begun_ns = 0
        self._broken_ns: int | None = None  # when the connection ended
        self._killed = False
        self._orders: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        address = f"tcp://[{host}]:*" if ":" in host else f"tcp://{host}:*"
        for socket in (self.socket, self._orders):
            socket.set(zmq.IPV6, int(":" in host))
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.CURVE_PUBLICKEY, server_public)
            socket.set(zmq.CURVE_SECRETKEY, server_secret)
        self._monitor = self._orders.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            for socket in (self.socket, self._orders):
                socket.bind(address)
        except zmq.ZMQError as error:
            raise ConfigError(
                f"cluster.host: expected the address of one of this machine's interfaces, got {host!r}: "
                f"{error}"
            ) from None

    def link(self) -> Link:
        """Addresses for messages and for orders, with the worker's keys."""
        messages, orders = (socket.get_string(zmq.LAST_ENDPOINT) for socket in (self.socket, self._orders))
        return Link(str(messages).rstrip("\0"), str(orders).rstrip("\0"), self._keys)

    def begin(self, executor: ThreadPoolExecutor, create: "Callable[[], _Actor]") -> None:
        """Start the actor in the thread of `executor`."""
        self._executor, self._create = executor, create
        self._begun, self._begun_ns = executor.submit(create), self.clock.now_ns()

    @property
    def place(self) -> str:
        return "not placed yet" if self.where is None else f"{self.where.pid} on {self.where.host}"

    @property
    def exit_code(self) -> int | None:
        if self._killed:
            return _KILLED
        if self._begun is None or not self._begun.done():
            return None
        if (error := self._begun.exception()) is not None:
            self.error = "error", f"Ray did not start it: {error}"
            return 1
        actor = self._begun.result()
        if self.where is None and actor.place.done() and actor.place.exception() is None:
            self.where = actor.place.result()
        if actor.result.done():
            if (error := actor.result.exception()) is None:
                return int(actor.result.result())
            self.error = self.error or ("error", str(error).strip().splitlines()[0][:300])
            return _KILLED
        if self._broken_ns is None and self._monitor.poll(0):
            self._broken_ns = self.clock.now_ns()
        if self._broken_ns is not None and self.clock.now_ns() - self._broken_ns > _GONE_NS:
            return _KILLED
        return None

    def silent(self) -> bool:
        """As for every worker; a worker that waits for a free machine is not silent, but placed anew."""
        if self.state == "starting" and self.where is None:
            now_ns = self.heard_ns = self.clock.now_ns()
            if now_ns - self._begun_ns > _PLACED_NS and self._executor and self._begun and self._create:
                self._executor.submit(_kill_actor, self._begun)
                self.begin(self._executor, self._create)
        return super().silent()

    def order(self, order: Order) -> None:
        self._send(ORDER, pickle.dumps(order))

    def received(self) -> Iterator[tuple[bytes, bytes]]:
        for topic, payload in super().received():
            if topic == _ALIVE:
                self._send(LEASE, payload)
            yield topic, payload

    def kill(self) -> None:
        """Discard its messages at once; Ray ends the process when it can."""
        if self._killed:
            return
        self._killed = True
        self._admitted.discard(self._keys.public)
        self.socket.close(linger=0)
        self._orders.disable_monitor()
        self._monitor.close(linger=0)
        self._orders.close(linger=0)
        if self._executor is not None and self._begun is not None:
            self._executor.submit(_kill_actor, self._begun)

    def _send(self, kind: bytes, payload: bytes) -> None:
        with suppress(zmq.Again):  # a worker without a connection is noticed by its silence
            self._orders.send_multipart([kind, payload], zmq.NOBLOCK)


class _Actor(NamedTuple):
    """An actor with its place and its exit code, once they are known."""

    handle: Any
    place: Future[Place]
    result: Future[int]


def _kill_actor(begun: Future[_Actor]) -> None:
    ray = ray_module()
    with suppress(Exception):  # the cluster may be gone; the lease ends the worker in any case
        ray.kill(begun.result().handle)


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

    def open(self) -> None:
        """Connect to the cluster. Raises ConfigError when there is none at the address."""
        with ExitStack() as resources:
            connect(self._settings.address)
            resources.callback(disconnect)
            self._board = Board(self._name)
            resources.callback(self._zmq.destroy, linger=0)
            authenticator = ThreadAuthenticator(self._zmq)
            authenticator.start()
            resources.callback(authenticator.stop)
            authenticator.configure_curve_callback(credentials_provider=_OnlyWorkers(self._admitted))
            resources.callback(self._executor.shutdown)
            self._resources = resources.pop_all()

    def close(self) -> None:
        self._resources.close()

    def turn(self, report: dict[str, object]) -> None:
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
        worker = RayWorker(number, near, self._zmq, self._clock, self._settings.host, self._admitted)
        link = worker.link()
        leaving = self._board.leaving if self._board is not None else frozenset()

        def create() -> _Actor:
            ray = ray_module()
            options = placement(self._settings, near, leaving, ray.nodes())
            actor = ray.remote(WorkerActor).options(**options).remote()
            level = logging.getLogger().getEffectiveLevel()
            place, result = actor.place.remote(), actor.run.remote(config, link, level)
            return _Actor(actor, place.future(), result.future())

        worker.begin(self._executor, create)
        return worker

    def must_leave(self, worker: WorkerHost) -> bool:
        if self._board is None or not isinstance(worker, RayWorker) or worker.where is None:
            return False
        if worker.where.version != version():
            raise ConfigError(
                f"cluster: {worker.where.host} has poselift {worker.where.version or 'unknown'}, this "
                f"machine {version() or 'unknown'}; install the same version on all machines"
            )
        return worker.where.node in self._board.leaving

    def _worker_count(self, config: Config) -> int:
        if config.workers != "auto":
            return config.workers.min if isinstance(config.workers, WorkerRange) else config.workers
        ray = ray_module()
        room = int(ray.cluster_resources().get("CPU", 1.0) / self._settings.worker_cpus)
        return max(1, min(len(config.sources), room - 1))  # one place is for the spare


class _OnlyWorkers:
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
