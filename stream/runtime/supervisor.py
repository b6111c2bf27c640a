"""The supervisor: divides the sources of a config among worker processes and replaces workers that fail.

A spare worker with a loaded lifter waits for the sources of a worker that dies or freezes, so that taking
them over needs no more time than opening them. The supervisor itself loads no lifter; its loop reads the
messages of the workers and hands them to the `Relay`.
"""

import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import zmq

from stream.clock import Clock, SystemClock
from stream.config.difference import difference
from stream.config.load import Config
from stream.errors import ConfigError, PoseliftError
from stream.health import Health, health_line
from stream.messages import Status
from stream.protocols import ComponentContext
from stream.runtime.node_health import NodeHealth
from stream.runtime.pipeline import needs_rotations
from stream.runtime.relay import Relay
from stream.runtime.share import Share, divide, redistribute
from stream.runtime.source_changes import REMOVED, require_makeable
from stream.runtime.worker_link import REPORT
from stream.runtime.worker_process import MAX_SILENCE_S, WorkerProcess

log = logging.getLogger("poselift")

_POLL_MS = 50  # how often the workers are looked after
_SPARE = "worker-spare"
_STOP_S = 3.0  # for the workers to publish what is pending
_MAX_FAILED_STARTS = 5  # in a row


def worker_count(config: Config) -> int:
    """Number of workers of a config; `auto` leaves one core to the supervisor and the detectors."""
    if config.workers == "auto":
        return min(len(config.sources), max(1, (os.cpu_count() or 2) - 1))
    return config.workers


class Supervisor:
    """Enter to open the sinks and to start the workers, `run` until all sources have ended or `stop`."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self.config = config
        self.session = str(uuid.uuid4())
        self._clock = clock or SystemClock()
        self.health = NodeHealth()
        context = ComponentContext("relay", config.node, self.session, self._clock, self.health)
        self.relay = Relay(config.sinks, context)
        self._worker_config = _worker_config(config)
        self._shares = divide(list(config.sources), worker_count(config))
        self._spares: list[WorkerProcess] = []
        self._started = self._failed_starts = 0
        self._stopping = False
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._folder = Path()

    def __enter__(self) -> "Supervisor":
        # Only this user may connect to sockets in this folder.
        self._folder = Path(tempfile.mkdtemp(prefix="poselift-"))
        try:
            self.relay.open()
            self._spares = [self._start_worker() for _ in self._shares]
        except BaseException:
            self._release_all()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._stop_workers()
        finally:
            self._release_all()

    def stop(self) -> None:
        """Make `run` return soon; may be called from a signal handler."""
        self._stopping = True

    def run(self, print_line: Callable[[str], None], on_turn: Callable[[], None] = lambda: None) -> None:
        """Serve until all sources have ended or `stop`. Raises the error that makes going on useless.

        on_turn: called about once a second, as a sign of life.
        """
        reported_ns = looked_ns = turn_ns = self._clock.now_ns()
        while not self._stopping and not all(share.ended for share in self._shares):
            self._receive(_POLL_MS)
            now_ns = self._clock.now_ns()
            if now_ns - looked_ns < _POLL_MS * 1e6:
                continue
            if now_ns - looked_ns > MAX_SILENCE_S * 0.5e9:  # this process was held up: no worker is to blame
                for worker in self._workers:
                    worker.heard_ns = now_ns
            looked_ns = now_ns
            self._replace_failed()
            self._assign()
            if self.relay.failed:
                return
            if now_ns - turn_ns >= 1e9:
                turn_ns = now_ns
                on_turn()
            if now_ns - reported_ns >= self.config.status_s * 1e9:
                reported_ns = now_ns
                print_line(health_line(self._publish_status()))

    def change_sources(self, config: Config) -> None:
        """Open and close sources so that they are those of `config`, in the workers that have them.

        A new source goes to the worker with the least load; all other settings of `config` are ignored.
        Raises PoseliftError, with nothing changed, for a source that cannot be made. For the thread of `run`.
        """
        change = difference(self.config, config)
        context = ComponentContext("relay", self.config.node, self.session, self._clock, Health())
        require_makeable([change.config.sources[name] for name in (*change.added, *change.changed)], context)
        self.config = change.config
        self._worker_config = replace(
            self._worker_config, sources=change.config.sources, scene=change.config.scene
        )
        parts = redistribute(self._shares, change.added, change.removed, self._load)
        for share, sources in parts.items():
            share.change(sources, self._worker_config)

    def _load(self, share: Share) -> float:
        return self.health.new_poses(share.worker.number) if share.worker else 0

    def _publish_status(self) -> dict[str, Any]:
        report = self.health.report()
        self.relay.publish(Status(self.config.node, self.session, self._clock.unix_ns(), report))
        return report

    @property
    def _workers(self) -> list[WorkerProcess]:
        return self._spares + [share.worker for share in self._shares if share.worker]

    def _start_worker(self) -> WorkerProcess:
        self._started += 1
        worker = WorkerProcess(self._started, self._worker_config, self._folder, self._zmq, self._clock)
        self._poller.register(worker.socket, zmq.POLLIN)
        return worker

    def _kill(self, worker: WorkerProcess) -> None:
        self._poller.unregister(worker.socket)
        worker.kill()

    # Messages

    def _receive(self, timeout_ms: int) -> None:
        waiting = dict(self._poller.poll(timeout_ms))
        for worker in self._workers:
            if worker.socket in waiting:
                worker.heard_ns = self._clock.now_ns()
                for topic, payload in worker.received():
                    self._handle(worker, topic, payload)

    def _handle(self, worker: WorkerProcess, topic: bytes, payload: bytes) -> None:
        if topic.startswith(REPORT):
            self._on_report(worker, topic[len(REPORT) :].decode(), payload.decode())
        elif topic.startswith(b"status/"):
            self._on_status(worker, msgspec.msgpack.decode(payload)["report"])
        else:
            self.relay.forward(worker.number, topic, payload)

    def _on_status(self, worker: WorkerProcess, report: dict[str, Any]) -> None:
        self.health.update(worker.number, report)
        removed = [name for name, state in report["states"].items() if state["state"] == REMOVED]
        for camera in removed:
            self.relay.release_camera(worker.number, camera)
        if removed:
            self._publish_status()

    def _on_report(self, worker: WorkerProcess, report: str, text: str) -> None:
        if report == "ready":
            worker.state = "ready"
            self._failed_starts = 0
            self.health.set_state(_SPARE, "ok", worker.text)
        elif report == "running":
            worker.state = "running"
            for share in self._shares:
                if share.worker is worker:
                    share.confirm()
                    self.health.set_state(share.name, "ok", worker.text)
        elif report in ("config_error", "error"):
            worker.error = report, text

    # Workers

    def _assign(self) -> None:
        """Give shares without a worker to ready spares, and keep one spare."""
        now_ns = self._clock.now_ns()
        for share in [share for share in self._shares if share.waits]:
            spare = next((worker for worker in self._spares if worker.state == "ready"), None)
            if spare is None or now_ns < share.not_before_ns:
                continue
            self._spares.remove(spare)
            share.start(spare, self._worker_config, now_ns)
            self.health.set_state(_SPARE, "ok", "starting")
            log.info("worker %d: %s", spare.number, spare.text)
        missing = sum(share.waits for share in self._shares)
        # At the start the spare comes last: the workers need the cores to load their lifters.
        wanted = missing if any(share.started_ns == 0 for share in self._shares) else missing + 1
        while len(self._spares) < wanted:
            self._spares.append(self._start_worker())

    def _replace_failed(self) -> None:
        for worker in self._workers:
            silent = worker.silent()
            if worker.exit_code is None and not silent:
                continue
            if not silent and (worker.exit_code or 0) >= 0:  # it ended by itself: it has sent all it had
                for topic, payload in worker.last_messages():
                    self._handle(worker, topic, payload)
            exit_code = worker.exit_code
            self._kill(worker)
            self.relay.release(worker.number)
            self.health.end(worker.number)
            self._on_end(
                worker, "does not answer" if silent else f"ended with exit code {exit_code}", exit_code
            )

    def _on_end(self, worker: WorkerProcess, reason: str, exit_code: int | None) -> None:
        kind, text = worker.error or ("", "")
        if text:
            reason = f"{reason}: {text}"
        is_spare = worker in self._spares
        if is_spare:
            self._spares.remove(worker)
            self._failed_starts += 1
        for share in self._shares:
            if share.worker is worker:
                share.end(exit_code, self._clock.now_ns())
                self.health.set_state(share.name, "ended" if share.ended else "retrying", reason)
        if kind == "config_error":
            raise ConfigError(text)
        if is_spare and self._failed_starts >= _MAX_FAILED_STARTS:
            raise PoseliftError(f"{self._failed_starts} workers failed to start in a row: {reason}")
        if exit_code != 0:
            self.health.increment("workers", "replaced")
            log.warning(
                "worker %d (%s): %s; another worker takes its place", worker.number, worker.text, reason
            )

    def _stop_workers(self) -> None:
        """Let the workers publish what is pending and end by themselves."""
        while self._spares:
            self._kill(self._spares.pop())
        for worker in self._workers:
            worker.stop()
        until_ns = self._clock.now_ns() + round(_STOP_S * 1e9)
        while any(worker.exit_code is None for worker in self._workers) and self._clock.now_ns() < until_ns:
            self._receive(_POLL_MS)
        for worker in self._workers:
            for topic, payload in worker.last_messages():
                self._handle(worker, topic, payload)

    def _release_all(self) -> None:
        for worker in self._workers:
            worker.kill()
        self.relay.close()
        self._zmq.destroy(linger=0)
        shutil.rmtree(self._folder, ignore_errors=True)


def _worker_config(config: Config) -> Config:
    """The config of every worker: its part of the cores, and rotations when a sink of the node needs them."""
    threads = config.lifter.threads or max(1, (os.cpu_count() or 2) // 2 // worker_count(config))
    lifter = msgspec.structs.replace(config.lifter, threads=threads, rotations=needs_rotations(config))
    return replace(config, lifter=lifter, sinks={})
