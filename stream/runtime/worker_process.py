"""Workers as processes of this machine."""

import logging
import multiprocessing
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from stream.clock import Clock, SystemClock
from stream.config.load import Config
from stream.config.workers import WorkerRange
from stream.runtime.share import Share, divide
from stream.runtime.worker import Order, run_worker
from stream.runtime.worker_host import WorkerHost

_JOIN_S = 1.0


def worker_count(config: Config) -> int:
    """Number of workers at the start; `auto` leaves one core to the supervisor and the detectors."""
    if config.workers == "auto":
        return min(len(config.sources), max(1, (os.cpu_count() or 2) - 1))
    return config.workers.min if isinstance(config.workers, WorkerRange) else config.workers


class WorkerProcess(WorkerHost):
    """Starts a worker at once. folder: for its socket; only this user may enter it."""

    def __init__(
        self,
        number: int,
        config: Config,
        folder: Path,
        context: "zmq.Context[zmq.Socket[bytes]]",
        clock: Clock,
    ) -> None:
        super().__init__(number, "", context, clock)
        address = f"ipc://{folder}/{number}"
        self.socket.bind(address)
        spawn = multiprocessing.get_context("spawn")  # a forked copy of threads and sockets would not work
        receiver, self._orders = spawn.Pipe(duplex=False)
        arguments: tuple[Any, ...] = (config, address, receiver, logging.getLogger().getEffectiveLevel())
        self._process = spawn.Process(target=run_worker, args=arguments, name=f"worker-{number}")
        self._process.start()
        receiver.close()  # so that the end of the worker breaks the pipe

    @property
    def place(self) -> str:
        return str(self._process.pid)

    @property
    def exit_code(self) -> int | None:
        """None while the process runs; negative after a signal."""
        return self._process.exitcode

    def order(self, order: Order) -> None:
        with suppress(OSError):  # the worker has ended, which the supervisor notices by itself
            self._orders.send(order)

    def kill(self) -> None:
        self._process.kill()
        self._process.join(_JOIN_S)
        self.socket.close(linger=0)
        self._orders.close()


class LocalHosts:
    """Runs the workers as child processes."""

    spares = 1

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._folder = Path()

    def open(self) -> None:
        # Only this user may connect to sockets in this folder.
        self._folder = Path(tempfile.mkdtemp(prefix="poselift-"))

    def close(self) -> None:
        self._zmq.destroy(linger=0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def turn(self, report: dict[str, object]) -> None:
        """Nothing to do: the processes are looked after by themselves."""

    def shares(self, config: Config) -> list[Share]:
        return divide(list(config.sources), worker_count(config))

    def near(self, config: Config, source: str) -> str:
        return ""

    def threads(self, config: Config) -> int:
        """A part of half of the cores."""
        workers = config.workers.max if isinstance(config.workers, WorkerRange) else worker_count(config)
        return max(1, (os.cpu_count() or 2) // 2 // workers)

    def start(self, number: int, config: Config, near: str) -> WorkerProcess:
        return WorkerProcess(number, config, self._folder, self._zmq, self._clock)

    def must_leave(self, worker: WorkerHost) -> bool:
        return False
