"""What a supervisor needs of its workers, wherever they run: a process of this machine or of another one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal, Protocol

import zmq

from stream.clock import Clock
from stream.config.load import Config
from stream.runtime.share import Share
from stream.runtime.worker import Order
from stream.runtime.worker_link import QUEUE
from stream.wire.schema import MAX_BYTES

MAX_SILENCE_S = 1.5  # of a running worker; its heartbeat comes every 0.2 s
MAX_START_S = 120.0  # for loading the lifter, and again for opening the sources
_BATCH = 200  # messages read at once, so that a busy worker does not delay the others
_FLUSH_MS = 50

# starting: loads the lifter. ready: waits for sources. opening: starts their threads. running: publishes.
State = Literal["starting", "ready", "opening", "running"]


class WorkerHost(ABC):
    """A worker as its supervisor sees it: socket, sources, and the time of its last message.

    number: of this worker; every worker has another one, also a replacement. sources: names of its sources,
    () before `assign`. error: the reason it reported before it gave up. near: label of the place it
    was started for, "" for any. leaving: it was asked to end so that another worker takes its sources.
    """

    max_silence_s = MAX_SILENCE_S

    def __init__(
        self, number: int, near: str, context: "zmq.Context[zmq.Socket[bytes]]", clock: Clock
    ) -> None:
        self.number = number
        self.near = near
        self.state: State = "starting"
        self.sources: tuple[str, ...] = ()
        self.error: tuple[str, str] | None = None
        self.leaving = False
        self.clock = clock
        self.heard_ns = clock.now_ns()
        # A socket per worker: no message of this worker can come in under another number.
        self.socket: zmq.Socket[bytes] = context.socket(zmq.PULL)
        self.socket.set(zmq.RCVHWM, QUEUE)
        # Even a peer without a key, on its way to being refused, can send a message of any size otherwise.
        self.socket.set(zmq.MAXMSGSIZE, MAX_BYTES)

    @property
    @abstractmethod
    def place(self) -> str:
        """Process id, and machine if it is another one, for logs and status messages."""

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """None while the worker runs; negative when it did not end by itself."""

    @abstractmethod
    def order(self, order: Order) -> None:
        """Send an order; one to a worker that has ended is lost."""

    @abstractmethod
    def kill(self) -> None:
        """End the worker, also a frozen one, and discard the messages that have not been read."""

    @property
    def text(self) -> str:
        """Place and sources, for logs and status messages."""
        return f"process {self.place}: {', '.join(self.sources) or 'spare'}"

    def assign(self, config: Config) -> None:
        """Make a ready worker run the sources of `config`."""
        self.state = "opening"
        self.heard_ns = self.clock.now_ns()
        self.change(config)

    def change(self, config: Config) -> None:
        """Make a worker open and close sources so that they are those of `config`."""
        self.sources = tuple(config.sources)
        self.order(config)

    def stop(self) -> None:
        """Ask the worker to publish what is pending and to end; returns at once."""
        self.order(None)

    def received(self) -> Iterator[tuple[bytes, bytes]]:
        """Messages that have arrived, at most some hundred."""
        for _ in range(_BATCH):
            try:
                topic, payload = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            yield topic, payload

    def last_messages(self) -> Iterator[tuple[bytes, bytes]]:
        """The messages that an ended worker has left."""
        while self.socket.poll(_FLUSH_MS):
            yield from self.received()

    def silent(self) -> bool:
        """Whether the worker counts as frozen."""
        limit_s = self.max_silence_s if self.state in ("ready", "running") else MAX_START_S
        return self.clock.now_ns() - self.heard_ns > limit_s * 1e9


class WorkerHosts(Protocol):
    """Where the workers of a supervisor run; `open` comes first, `close` last.

    spares: for each place.
    """

    spares: int

    def open(self) -> None:
        """Prepare for workers. Raises ConfigError and PoseliftError."""
        ...

    def close(self) -> None: ...

    def turn(self, report: dict[str, object]) -> None:
        """Called about once a second with the health report of the node."""
        ...

    def shares(self, config: Config) -> list[Share]:
        """The sources of `config`, divided among workers."""
        ...

    def near(self, config: Config, source: str) -> str:
        """Label of the place where a source should run, "" for any."""
        ...

    def threads(self, config: Config) -> int:
        """CPU threads of each worker's lifter, for a config that leaves them open."""
        ...

    def start(self, number: int, config: Config, near: str) -> WorkerHost:
        """Start a worker; returns at once."""
        ...

    def must_leave(self, worker: WorkerHost) -> bool:
        """Whether the place of this worker is to be emptied."""
        ...
