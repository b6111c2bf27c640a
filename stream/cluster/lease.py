"""The right of a worker on another machine to publish, and the orders of its supervisor.

The supervisor sends every heartbeat back. A worker may publish for `cluster.lease_s` after it sent the newest
heartbeat that has come back, by its own monotonic clock; the supervisor gives its sources to another worker
no earlier than MAX_SILENCE leases after the last heartbeat arrived, which was later than it was sent. So two
workers never publish a source at the same time, whether the network was cut, the process was frozen or an old
message arrives late.
"""

import queue
import threading
import time

import zmq

from stream.cluster.orders import decode_order
from stream.config.load import Config
from stream.messages import Message
from stream.protocols import ComponentContext
from stream.runtime.worker import Order
from stream.runtime.worker_link import LinkKeys, WorkerSink

MAX_SILENCE = 1.2  # leases
LEASE, ORDER = b"lease", b"order"
_TICK_MS = 50


class Lease:
    """Orders and heartbeats that come back, read by a thread of its own. Use it as a context manager.

    address: of the supervisor's socket for the orders to this worker. config: with which it was started.
    """

    def __init__(self, address: str, keys: LinkKeys, config: Config) -> None:
        self._config = config
        self._lease_ns = round(config.cluster.lease_s * 1e9)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        keys.apply(self._socket)
        self._socket.connect(address)
        self._orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._until_ns: int | None = None  # None before the first heartbeat has come back
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)

    @property
    def valid(self) -> bool:
        """Whether the worker may publish now."""
        return self._until_ns is not None and time.monotonic_ns() < self._until_ns

    @property
    def expired(self) -> bool:
        """Whether the worker had the right to publish and lost it."""
        return self._until_ns is not None and not self.valid

    def poll(self) -> bool:
        """Whether `recv` returns or raises at once."""
        return self.expired or not self._orders.empty()

    def recv(self) -> Order:
        """The next order. Raises EOFError once the lease has expired, ConfigError for an unreadable order."""
        while not self.expired:
            try:
                payload = self._orders.get(timeout=_TICK_MS / 1e3)
            except queue.Empty:
                continue
            return decode_order(payload, self._config)
        raise EOFError("the supervisor does not answer")

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._socket.poll(_TICK_MS):
                continue
            kind, payload = self._socket.recv_multipart()
            if kind == LEASE:
                until_ns = int(payload) + self._lease_ns
                # Once expired it stays so: the sources may belong to another worker.
                if not self.expired and (self._until_ns is None or until_ns > self._until_ns):
                    self._until_ns = until_ns
            elif kind == ORDER:
                self._orders.put(payload)


class LeasedSink(WorkerSink):
    """Hands messages to the supervisor as long as the lease is valid; drops and counts them otherwise."""

    def __init__(self, settings: WorkerSink.Settings, context: ComponentContext, lease: Lease) -> None:
        super().__init__(settings, context)
        self._lease = lease

    def send(self, message: Message) -> None:
        if self._lease.valid:
            super().send(message)
        else:
            self._component.health.increment(self._component.name, "drop.no_lease")
