"""Run a config until its sources end or a signal stops it."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence

from stream.config.load import Config
from stream.config.workers import WorkerRange
from stream.errors import ConfigError
from stream.health import health_line
from stream.postprocess.batch import PostProcessor
from stream.protocols import opened
from stream.runtime.notify import Notifier
from stream.runtime.pipeline import Pipeline
from stream.runtime.reload import Reloader
from stream.runtime.signals import stopped_by_signals
from stream.runtime.supervisor import Supervisor
from stream.runtime.watchdog import Watchdog
from stream.runtime.worker_host import WorkerHosts
from stream.runtime.worker_process import LocalHosts, worker_count
from stream.tracking.lifecycle import max_gap_s

log = logging.getLogger("poselift")

_ANNOUNCE_S = 1.0  # how often meta messages are repeated for late joiners
_OPEN_S = 2.0  # how long the first lines wait for a sink to open


def run(
    config: Config,
    print_line: Callable[[str], None],
    post_processors: Sequence[PostProcessor] = (),
    reload: Callable[[], Config] | None = None,
) -> None:
    """Run `config`; prints a line per sink at the start, and the health every `status_s`.

    post_processors: as for `Pipeline`. reload: reads the config again; at SIGHUP its sources are opened and
    closed. Raises the error that ended it early.
    """
    if isinstance(config.workers, WorkerRange) or worker_count(config) > 1:
        if post_processors:
            raise ConfigError(
                "workers: expected 1 with post-processors of your own, which stay in one process"
            )
        run_workers(config, LocalHosts(), print_line, reload)
        return
    pipeline, notifier = Pipeline(config, post_processors=post_processors), Notifier()
    reloader = Reloader(pipeline, reload, notifier) if reload else None
    with stopped_by_signals(pipeline.stop, reloader.request if reloader else None), pipeline:
        lines = list(endpoints(pipeline))
        notifier.ready(", ".join(lines))
        for line in lines:
            print_line(line)
        try:
            supervise(pipeline, print_line, notifier, reloader)
        finally:
            notifier.stopping()
    print_line(f"stopped. {health_line(pipeline.status().report)}")
    if pipeline.error is not None:
        raise pipeline.error


def run_workers(
    config: Config,
    hosts: WorkerHosts,
    print_line: Callable[[str], None],
    reload: Callable[[], Config] | None = None,
) -> None:
    """Run `config` with its sources divided among workers on `hosts`; output and errors as for `run`."""
    # Ray sets signal handlers when the hosts are opened, so those of this block come after it.
    with opened(hosts):
        supervisor, notifier = Supervisor(config, hosts), Notifier()
        reloader = Reloader(supervisor, reload, notifier) if reload else None

        def on_turn() -> None:
            notifier.alive(health_line(supervisor.health.report()))
            if reloader:
                reloader.turn()

        with stopped_by_signals(supervisor.stop, reloader.request if reloader else None), supervisor:
            sinks = supervisor.relay.endpoints().items()
            lines = [f"{name}: {endpoint or config.sinks[name].type}" for name, endpoint in sinks]
            notifier.ready(", ".join(lines))
            for line in lines:
                print_line(line)
            try:
                supervisor.run(print_line, on_turn)
            finally:
                notifier.stopping()
    print_line(f"stopped. {health_line(supervisor.health.report())}")
    if supervisor.relay.error is not None:
        raise supervisor.relay.error


def supervise(
    pipeline: Pipeline,
    print_line: Callable[[str], None],
    notifier: Notifier | None = None,
    reloader: Reloader | None = None,
) -> None:
    """Repeat the meta messages, watch the threads and report health until the pipeline is done.

    notifier: gets a sign of life about once a second while all threads run. reloader: gets its turns.
    """
    gap_s = max_gap_s(pipeline.config.lifter.predict_s)
    watchdog = Watchdog(pipeline.health, pipeline.clock, gap_s)
    clock, interval_ns = pipeline.clock, pipeline.config.status_s * 1e9
    reported_ns = clock.now_ns()
    if pipeline.wait(_ANNOUNCE_S):
        return
    gc.freeze()  # loaded objects stay alive; scanning them for garbage takes tens of milliseconds
    while True:
        pipeline.announce()
        if reloader:
            reloader.turn()
        watchdog.check()
        if notifier and watchdog.alive:
            notifier.alive(health_line(pipeline.health.report()))
        if clock.now_ns() - reported_ns >= interval_ns:
            reported_ns = clock.now_ns()
            print_line(health_line(pipeline.status().report))
        if pipeline.wait(_ANNOUNCE_S):
            return


def endpoints(pipeline: Pipeline) -> Iterator[str]:
    """One line per sink: its address or file, or its type when it has none."""
    for name, thread in pipeline.sink_threads.items():
        thread.wait_until_open(_OPEN_S)
        yield f"{name}: {thread.endpoint or pipeline.config.sinks[name].type}"
