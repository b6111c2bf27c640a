"""The supervisor: divides the sources of a config among workers and publishes what they send.

The supervisor itself loads no lifter; its loop reads the messages of the workers and hands them to the
`Relay`. Its `WorkerPool` replaces workers that fail.
"""

import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from stream.clock import Clock, SystemClock
from stream.config.difference import difference
from stream.config.load import Config
from stream.config.workers import WorkerRange
from stream.health import Health, health_line
from stream.messages import Status
from stream.protocols import ComponentContext
from stream.runtime.node_health import NodeHealth
from stream.runtime.relay import Relay
from stream.runtime.scaling import Scaler
from stream.runtime.share import Share, redistribute
from stream.runtime.source_changes import REMOVED, require_makeable
from stream.runtime.worker_host import MAX_SILENCE_S, WorkerHost, WorkerHosts
from stream.runtime.worker_link import REPORT
from stream.runtime.worker_pool import WorkerPool

_POLL_MS = 50  # how often the workers are looked after
_WORKERS = "workers"  # in status messages


class Supervisor:
    """Enter to open the sinks and to start the workers, `run` until all sources have ended or `stop`.

    hosts: where the workers run; they are open.
    """

    def __init__(self, config: Config, hosts: WorkerHosts, clock: Clock | None = None) -> None:
        self.config = config
        self.session = str(uuid.uuid4())
        self._clock = clock or SystemClock()
        self.health = NodeHealth()
        context = ComponentContext("relay", config.node, self.session, self._clock, self.health)
        self.relay = Relay(config.sinks, context)
        self._hosts = hosts
        self._pool = WorkerPool(hosts, self.health, self._clock, self._handle, self._on_end)
        self._scaler: Scaler | None = None
        if isinstance(config.workers, WorkerRange):
            self._scaler = Scaler(config.workers, self._load, self._clock)
        self._stopping = False

    def __enter__(self) -> "Supervisor":
        try:
            self.relay.open()
            self._pool.start(self.config)
        except BaseException:
            self._release_all()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._pool.stop()
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
        while not self._stopping and not all(share.ended for share in self._pool.shares):
            self._pool.receive(_POLL_MS)
            now_ns = self._clock.now_ns()
            if now_ns - looked_ns < _POLL_MS * 1e6:
                continue
            if now_ns - looked_ns > MAX_SILENCE_S * 0.5e9:  # this process was held up: no worker is to blame
                for worker in self._pool.workers:
                    worker.heard_ns = now_ns
            looked_ns = now_ns
            self._pool.look_after()
            if self.relay.failed:
                return
            if now_ns - turn_ns >= 1e9:
                turn_ns = now_ns
                on_turn()
                self._scale()
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

        def near(source: str) -> str:
            return self._hosts.near(change.config, source)

        moved = [
            name
            for share in self._pool.shares
            for name in share.sources
            if name in change.changed and near(name) != share.near
        ]
        parts = redistribute(
            self._pool.shares,
            [*change.added, *moved],
            [*change.removed, *moved],
            self._load,
            near,
            idle_last=self._scaler is not None,  # the load decides when another worker is needed
        )
        self._pool.change(self.config, parts)

    def _load(self, share: Share) -> float:
        return self.health.poses_per_s(share.worker.number) if share.worker else 0.0

    def _scale(self) -> None:
        """Move sources when the load asks for it, to another worker or from one that is drained."""
        if self._scaler is None or not self._pool.settled:
            return
        shares = self._pool.shares
        parts = self._scaler.step(shares)
        for share, sources in parts.items():
            if sources and not share.sources:
                self.health.increment(_WORKERS, "added")
            elif share.sources and not sources:
                self.health.increment(_WORKERS, "drained")
        if parts:
            self._pool.change(self.config, parts)
        self.health.set_state(_WORKERS, "ok", self._scaler.text(shares))

    def _publish_status(self) -> dict[str, Any]:
        report = self.health.report()
        self.relay.publish(Status(self.config.node, self.session, self._clock.unix_ns(), report))
        return report

    # Messages of workers

    def _handle(self, worker: WorkerHost, topic: bytes, payload: bytes) -> None:
        if topic.startswith(REPORT):
            self._on_report(worker, topic[len(REPORT) :].decode(), payload.decode())
        elif topic.startswith(b"status/"):
            self._on_status(worker, msgspec.msgpack.decode(payload)["report"])
        else:
            self.relay.forward(worker.number, topic, payload)

    def _on_status(self, worker: WorkerHost, report: dict[str, Any]) -> None:
        self.health.update(worker.number, report, self._clock.now_ns())
        removed = [name for name, state in report["states"].items() if state["state"] == REMOVED]
        for camera in removed:
            self.relay.release_camera(worker.number, camera)
        if removed:
            self._publish_status()

    def _on_report(self, worker: WorkerHost, report: str, text: str) -> None:
        if report == "ready":
            self._pool.on_ready(worker)
        elif report == "running":
            self._pool.on_running(worker)
        elif report in ("config_error", "error"):
            worker.error = report, text

    def _on_end(self, worker: WorkerHost) -> None:
        self.relay.release(worker.number)

    def _release_all(self) -> None:
        self._pool.kill()
        self.relay.close()
