"""A worker in a Ray actor, as its supervisor sees it.

Ray starts the process and notices its end. Messages, orders and heartbeats have their own connections, so a
failure is noticed without Ray. Calls to Ray that may wait for the head are made in a thread.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import zmq

from stream.clock import Clock
from stream.cluster.actor import Link, Place
from stream.cluster.connect import ray_module
from stream.cluster.lease import LEASE, MAX_SILENCE, ORDER
from stream.cluster.orders import encode_order
from stream.config.cluster import ClusterSettings
from stream.errors import ConfigError
from stream.runtime.worker import Order
from stream.runtime.worker_host import WorkerHost
from stream.runtime.worker_link import REPORT, LinkKeys
from stream.wire.schema import MAX_BYTES

_ALIVE = REPORT + b"alive"
_GONE_NS = 300_000_000  # how long a broken connection waits for Ray's word on how the worker ended
_KILLED = -9
_PLACED_NS = (
    60_000_000_000  # a worker without a machine for so long is placed anew: the machines may have changed
)


class Actor(NamedTuple):
    """An actor with its place and its exit code, once they are known."""

    handle: Any
    place: Future[Place]
    result: Future[int]


class RayWorker(WorkerHost):
    """A worker in a Ray actor; `begin` starts it.

    where: None until it is placed. avoided: ids of machines on which it is not placed.
    """

    def __init__(
        self,
        number: int,
        near: str,
        context: "zmq.Context[zmq.Socket[bytes]]",
        clock: Clock,
        settings: ClusterSettings,
        admitted: set[bytes],
    ) -> None:
        super().__init__(number, near, context, clock)
        self.max_silence_s = MAX_SILENCE * settings.lease_s
        host = settings.host
        # Keys of its own: a worker that was given up and comes back cannot connect to the socket of another
        # one, which may have the same port by then.
        server_public, server_secret = zmq.curve_keypair()
        self._keys = LinkKeys(*zmq.curve_keypair(), server_public)
        self._admitted = admitted
        admitted.add(self._keys.public)
        self.where: Place | None = None
        self.avoided: frozenset[str] = frozenset()
        self._begun: Future[Actor] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._create: Callable[[], Actor] | None = None
        self._begun_ns = 0
        self._broken_ns: int | None = None  # when the connection ended
        self._killed = False
        self._orders: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        address = f"tcp://[{host}]:*" if ":" in host else f"tcp://{host}:*"
        for socket in (self.socket, self._orders):
            socket.set(zmq.IPV6, int(":" in host))
            socket.set(zmq.MAXMSGSIZE, MAX_BYTES)  # also for peers without a key, before they are refused
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

    def begin(self, executor: ThreadPoolExecutor, create: Callable[[], Actor]) -> None:
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
        self._send(ORDER, encode_order(order))

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


def _kill_actor(begun: Future[Actor]) -> None:
    ray = ray_module()
    with suppress(Exception):  # the cluster may be gone; the lease ends the worker in any case
        ray.kill(begun.result().handle)
