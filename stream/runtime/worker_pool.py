"""The workers of a supervisor: one for every share of the sources, and spares that replace those that fail.

A spare worker with a loaded lifter waits for the sources of a worker that dies or freezes, so that taking
them over needs no more time than opening them.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

import msgspec
import zmq

from stream.clock import Clock
from stream.config.load import Config
from stream.errors import ConfigError, PoseliftError
from stream.runtime.node_health import NodeHealth
from stream.runtime.pipeline import needs_rotations
from stream.runtime.share import Share
from stream.runtime.worker_host import WorkerHost, WorkerHosts

log = logging.getLogger("poselift")

_SPARE = "worker-spare"
_POLL_MS = 50
_STOP_S = 3.0  # for the workers to publish what is pending
_MAX_FAILED_STARTS = 5  # in a row

# Called with a worker and the two parts of its message.
Handler = Callable[[WorkerHost, bytes, bytes], None]


class WorkerPool:
    """Starts workers on `hosts` and replaces those that fail; use it from one thread.

    handle: gets every message of a worker. on_end: called once a worker has ended and sent all it had.
    """

    def __init__(
        self,
        hosts: WorkerHosts,
        health: NodeHealth,
        clock: Clock,
        handle: Handler,
        on_end: Callable[[WorkerHost], None],
    ) -> None:
        self.shares: list[Share] = []
        self._hosts, self._health, self._clock = hosts, health, clock
        self._handle, self._on_end = handle, on_end
        self._spares: list[WorkerHost] = []
        self._config: Config | None = None
        self._started = self._failed_starts = 0
        self._poller = zmq.Poller()

    def start(self, config: Config) -> None:
        """Divide the sources of `config`, and start a worker for each share."""
        self.shares = self._hosts.shares(config)
        threads = config.lifter.threads or self._hosts.threads(config)
        # Workers compute rotations when a sink of the node needs them.
        lifter = msgspec.structs.replace(config.lifter, threads=threads, rotations=needs_rotations(config))
        self._config = replace(config, lifter=lifter, sinks={})
        self._spares = [self._start_worker(share.near) for share in self.shares]

    @property
    def workers(self) -> list[WorkerHost]:
        return self._spares + [share.worker for share in self.shares if share.worker]

    @property
    def settled(self) -> bool:
        """Whether no order is on its way and the spares are ready, so that sources can move at once."""
        places = {share.near for share in self.shares if not share.ended}
        has_spares = self._hosts.spares == 0 or all(map(self.ready_spare, places))
        return has_spares and all(share.settled for share in self.shares)

    def change(self, config: Config, parts: dict[Share, tuple[str, ...]]) -> None:
        """Run the sources of `parts`, with their settings in `config`."""
        assert self._config is not None
        self._config = replace(self._config, sources=config.sources, scene=config.scene)
        for share, sources in parts.items():
            if share not in self.shares:
                self.shares.append(share)
            share.change(sources, self._config)

    def ready_spare(self, near: str) -> WorkerHost | None:
        """A worker of the place `near` that waits for sources, or None."""
        return next(
            (
                worker
                for worker in self._spares
                if worker.state == "ready" and worker.near == near and not self._hosts.must_leave(worker)
            ),
            None,
        )

    def receive(self, timeout_ms: int) -> None:
        """Handle the messages that have arrived; waits for the first."""
        waiting = dict(self._poller.poll(timeout_ms))
        for worker in self.workers:
            if worker.socket in waiting:
                worker.heard_ns = self._clock.now_ns()
                for topic, payload in worker.received():
                    self._handle(worker, topic, payload)

    def on_ready(self, worker: WorkerHost) -> None:
        """The worker has loaded its lifter."""
        worker.state = "ready"
        self._failed_starts = 0
        self._health.set_state(_SPARE, "ok", worker.text)

    def on_running(self, worker: WorkerHost) -> None:
        """The worker has carried out an order."""
        worker.state = "running"
        for share in self.shares:
            if share.worker is worker:
                share.confirm()
                self._health.set_state(share.name, "ok", worker.text)

    def look_after(self) -> None:
        """Replace workers that have failed, and move those whose place is to be emptied.

        Raises the error that makes going on useless.
        """
        self._replace_failed()
        self._assign()
        self._empty_places()

    def _start_worker(self, near: str) -> WorkerHost:
        assert self._config is not None
        self._started += 1
        worker = self._hosts.start(self._started, self._config, near)
        self._poller.register(worker.socket, zmq.POLLIN)
        return worker

    def _kill(self, worker: WorkerHost) -> None:
        self._poller.unregister(worker.socket)
        worker.kill()

    def _assign(self) -> None:
        """Give shares without a worker to ready spares, and keep the spares of each place."""
        now_ns = self._clock.now_ns()
        for share in [share for share in self.shares if share.waits]:
            spare = self.ready_spare(share.near)
            if spare is None or now_ns < share.not_before_ns:
                continue
            assert self._config is not None
            self._spares.remove(spare)
            share.start(spare, self._config, now_ns)
            self._health.set_state(_SPARE, "ok", "starting")
            log.info("worker %d: %s", spare.number, spare.text)
        # At the start the spare comes last: the workers need the cores to load their lifters.
        extra = 0 if any(share.waits and share.started_ns == 0 for share in self.shares) else 1
        for near in dict.fromkeys(share.near for share in self.shares):
            missing = sum(share.waits for share in self.shares if share.near == near)
            spares = sum(worker.near == near for worker in self._spares)
            count = missing + extra * self._hosts.spares - spares
            self._spares += [self._start_worker(near) for _ in range(count)]

    def _empty_places(self) -> None:
        """Move workers away from places that are to be emptied, each when a spare can take its sources."""
        for worker in [worker for worker in self._spares if self._hosts.must_leave(worker)]:
            self._spares.remove(worker)
            self._kill(worker)
        for share in self.shares:
            host = share.worker
            if host is None or host.leaving or not self._hosts.must_leave(host):
                continue
            if self.ready_spare(share.near) and not any(other.leaving for other in self.workers):
                log.info("worker %d (%s) hands its sources over", host.number, host.text)
                host.leaving = True
                host.stop()

    def _replace_failed(self) -> None:
        for worker in self.workers:
            silent = worker.silent()
            if worker.exit_code is None and not silent:
                continue
            if not silent and (worker.exit_code or 0) >= 0:  # it ended by itself: it has sent all it had
                self._handle_last(worker)
            exit_code = worker.exit_code
            self._kill(worker)
            self._on_end(worker)
            self._health.end(worker.number)
            reason = "does not answer" if silent else f"ended with exit code {exit_code}"
            self._settle(worker, reason, exit_code)

    def _settle(self, worker: WorkerHost, reason: str, exit_code: int | None) -> None:
        """Note the end of a worker, so that another one takes its place."""
        kind, text = worker.error or ("", "")
        if text:
            reason = f"{reason}: {text}"
        is_spare = worker in self._spares
        if is_spare:
            self._spares.remove(worker)
            self._failed_starts += 1
        for share in self.shares:
            if share.worker is worker:
                share.end(None if worker.leaving else exit_code, self._clock.now_ns())
                reason = reason if share.sources else "no sources"
                self._health.set_state(share.name, "ended" if share.ended else "retrying", reason)
        if kind == "config_error":
            raise ConfigError(text)
        if is_spare and self._failed_starts >= _MAX_FAILED_STARTS:
            raise PoseliftError(f"{self._failed_starts} workers failed to start in a row: {reason}")
        if worker.leaving:
            self._health.increment("workers", "moved")
        elif exit_code != 0:
            self._health.increment("workers", "replaced")
            log.warning(
                "worker %d (%s): %s; another worker takes its place", worker.number, worker.text, reason
            )

    def stop(self) -> None:
        """Let the workers publish what is pending and end by themselves."""
        while self._spares:
            self._kill(self._spares.pop())
        for worker in self.workers:
            worker.stop()
        until_ns = self._clock.now_ns() + round(_STOP_S * 1e9)
        while any(worker.exit_code is None for worker in self.workers) and self._clock.now_ns() < until_ns:
            self.receive(_POLL_MS)
        for worker in self.workers:
            self._handle_last(worker)

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.workers:
            worker.kill()

    def _handle_last(self, worker: WorkerHost) -> None:
        for topic, payload in worker.last_messages():
            self._handle(worker, topic, payload)
