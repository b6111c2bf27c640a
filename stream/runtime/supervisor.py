"""The supervisor: divides the sources of a config among worker processes and replaces workers that fail.

A spare worker with a loaded lifter waits for the sources of a worker that dies or freezes, so that taking
them over needs no more time than opening them. The supervisor itself loads no lifter; its loop reads the
messages of the workers and hands them to the `Relay`.
"""

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
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
from stream.runtime.share import Share, redistribute
from stream.runtime.source_changes import REMOVED, require_makeable
from stream.runtime.worker_host import MAX_SILENCE_S, WorkerHost, WorkerHosts
from stream.runtime.worker_link import REPORT
from stream.runtime.worker_process import LocalHosts

log = logging.getLogger("poselift")

_POLL_MS = 50  # how often the workers are looked after
_SPARE = "worker-spare"
_STOP_S = 3.0  # for the workers to publish what is pending
_MAX_FAILED_STARTS = 5  # in a row


class Supervisor:
    """Enter to open the sinks and to start the workers, `run` until all sources have ended or `stop`.

    hosts: where the workers run; None for processes of this machine.
    """

    def __init__(self, config: Config, clock: Clock | None = None, hosts: WorkerHosts | None = None) -> None:
        self.config = config
        self.session = str(uuid.uuid4())
        self._clock = clock or SystemClock()
        self.health = NodeHealth()
        context = ComponentContext("relay", config.node, self.session, self._clock, self.health)
        self.relay = Relay(config.sinks, context)
        self._hosts = hosts or LocalHosts(self._clock)
        self._worker_config = config
        self._shares: list[Share] = []
        self._spares: list[WorkerHost] = []
        self._started = self._failed_starts = 0
        self._stopping = False
        self._poller = zmq.Poller()

    def __enter__(self) -> "Supervisor":
        self._hosts.open()
        try:
            self._shares = self._hosts.shares(self.config)
            self._worker_config = _worker_config(self.config, self._hosts)
            self.relay.open()
            self._spares = [self._start_worker(share.near) for share in self._shares]
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
            self._empty_places()
            if self.relay.failed:
                return
            if now_ns - turn_ns >= 1e9:
                turn_ns = now_ns
                on_turn()
                self._hosts.turn(self.health.report())
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
    def _workers(self) -> list[WorkerHost]:
        return self._spares + [share.worker for share in self._shares if share.worker]

    def _start_worker(self, near: str) -> WorkerHost:
        self._started += 1
        worker = self._hosts.start(self._started, self._worker_config, near)
        self._poller.register(worker.socket, zmq.POLLIN)
        return worker

    def _kill(self, worker: WorkerHost) -> None:
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

    def _handle(self, worker: WorkerHost, topic: bytes, payload: bytes) -> None:
        if topic.startswith(REPORT):
            self._on_report(worker, topic[len(REPORT) :].decode(), payload.decode())
        elif topic.startswith(b"status/"):
            self._on_status(worker, msgspec.msgpack.decode(payload)["report"])
        else:
            self.relay.forward(worker.number, topic, payload)

    def _on_status(self, worker: WorkerHost, report: dict[str, Any]) -> None:
        self.health.update(worker.number, report)
        removed = [name for name, state in report["states"].items() if state["state"] == REMOVED]
        for camera in removed:
            self.relay.release_camera(worker.number, camera)
        if removed:
            self._publish_status()

    def _on_report(self, worker: WorkerHost, report: str, text: str) -> None:
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
            spare = self._ready_spare(share.near)
            if spare is None or now_ns < share.not_before_ns:
                continue
            self._spares.remove(spare)
            share.start(spare, self._worker_config, now_ns)
            self.health.set_state(_SPARE, "ok", "starting")
            log.info("worker %d: %s", spare.number, spare.text)
        # At the start the spare comes last: the workers need the cores to load their lifters.
        extra = 0 if any(share.started_ns == 0 for share in self._shares) else self._hosts.spares
        for near in dict.fromkeys(share.near for share in self._shares):
            missing = sum(share.waits for share in self._shares if share.near == near)
            spares = sum(worker.near == near for worker in self._spares)
            self._spares += [self._start_worker(near) for _ in range(missing + extra - spares)]

    def _ready_spare(self, near: str) -> WorkerHost | None:
        return next(
            (
                worker
                for worker in self._spares
                if worker.state == "ready" and worker.near == near and not self._hosts.must_leave(worker)
            ),
            None,
        )

    def _empty_places(self) -> None:
        """Move workers away from places that are to be emptied, each when a spare can take its sources."""
        for worker in [worker for worker in self._spares if self._hosts.must_leave(worker)]:
            self._spares.remove(worker)
            self._kill(worker)
        for share in self._shares:
            host = share.worker
            if host is None or host.leaving or not self._hosts.must_leave(host):
                continue
            if self._ready_spare(share.near) and not any(other.leaving for other in self._workers):
                log.info("worker %d (%s) hands its sources over", host.number, host.text)
                host.leaving = True
                host.stop()

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

    def _on_end(self, worker: WorkerHost, reason: str, exit_code: int | None) -> None:
        kind, text = worker.error or ("", "")
        if text:
            reason = f"{reason}: {text}"
        is_spare = worker in self._spares
        if is_spare:
            self._spares.remove(worker)
            self._failed_starts += 1
        for share in self._shares:
            if share.worker is worker:
                share.end(None if worker.leaving else exit_code, self._clock.now_ns())
                self.health.set_state(share.name, "ended" if share.ended else "retrying", reason)
        if kind == "config_error":
            raise ConfigError(text)
        if is_spare and self._failed_starts >= _MAX_FAILED_STARTS:
            raise PoseliftError(f"{self._failed_starts} workers failed to start in a row: {reason}")
        if worker.leaving:
            self.health.increment("workers", "moved")
        elif exit_code != 0:
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
        self._hosts.close()


def _worker_config(config: Config, hosts: WorkerHosts) -> Config:
    """The config of every worker: threads of its lifter, and rotations when a sink of the node needs them."""
    threads = config.lifter.threads or hosts.threads(config)
    lifter = msgspec.structs.replace(config.lifter, threads=threads, rotations=needs_rotations(config))
    return replace(config, lifter=lifter, sinks={})
