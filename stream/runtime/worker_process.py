"""A worker as its supervisor sees it: process, socket, sources, and the time of its last message."""

import logging
import multiprocessing
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import zmq

from stream.clock import Clock
from stream.config.load import Config
from stream.runtime.worker import Order, run_worker
from stream.runtime.worker_link import QUEUE

MAX_SILENCE_S = 1.5  # of a running worker; its heartbeat comes every 0.2 s
MAX_START_S = 120.0  # for loading the lifter, and again for opening the sources
_BATCH = 200  # messages read at once, so that a busy worker does not delay the others
_FLUSH_MS = 50
_JOIN_S = 1.0

# starting: loads the lifter. ready: waits for sources. opening: starts their threads. running: publishes.
State = Literal["starting", "ready", "opening", "running"]


class WorkerProcess:
    """Starts a worker at once. number: of this worker; every process has another one, also a replacement.

    sources: names of its sources, () before `assign`. error: the reason it reported before it gave up.
    """

    def __init__(
        self,
        number: int,
        config: Config,
        folder: Path,
        context: "zmq.Context[zmq.Socket[bytes]]",
        clock: Clock,
    ) -> None:
        self.number = number
        self.state: State = "starting"
        self.sources: tuple[str, ...] = ()
        self.error: tuple[str, str] | None = None
        self._clock = clock
        self.heard_ns = clock.now_ns()
        # A socket file per worker: no message of this process can come in under another number.
        address = f"ipc://{folder}/{number}"
        self.socket: zmq.Socket[bytes] = context.socket(zmq.PULL)
        self.socket.set(zmq.RCVHWM, QUEUE)
        self.socket.bind(address)
        spawn = multiprocessing.get_context("spawn")  # a forked copy of threads and sockets would not work
        receiver, self._orders = spawn.Pipe(duplex=False)
        arguments: tuple[Any, ...] = (config, address, receiver, logging.getLogger().getEffectiveLevel())
        self._process = spawn.Process(target=run_worker, args=arguments, name=f"worker-{number}")
        self._process.start()
        receiver.close()  # so that the end of the worker breaks the pipe

    @property
    def text(self) -> str:
        """Process id and sources, for logs and status messages."""
        return f"process {self._process.pid}: {', '.join(self.sources) or 'spare'}"

    @property
    def exit_code(self) -> int | None:
        """None while the process runs; negative after a signal."""
        return self._process.exitcode

    def assign(self, config: Config) -> None:
        """Make a ready worker run the sources of `config`."""
        self.state = "opening"
        self.heard_ns = self._clock.now_ns()
        self.change(config)

    def change(self, config: Config) -> None:
        """Make a worker open and close sources so that they are those of `config`."""
        self.sources = tuple(config.sources)
        self._order(config)

    def stop(self) -> None:
        """Ask the worker to publish what is pending and to end; returns at once."""
        self._order(None)

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
        limit_s = MAX_SILENCE_S if self.state in ("ready", "running") else MAX_START_S
        return self._clock.now_ns() - self.heard_ns > limit_s * 1e9

    def kill(self) -> None:
        """End the process, also a frozen one, and discard the messages that have not been read."""
        self._process.kill()
        self._process.join(_JOIN_S)
        self.socket.close(linger=0)
        self._orders.close()

    def _order(self, order: Order) -> None:
        with suppress(OSError):  # the worker has ended, which the supervisor notices by itself
            self._orders.send(order)
