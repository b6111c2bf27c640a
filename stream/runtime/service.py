"""Run a config until its sources end or a signal stops it."""

import gc
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from stream.config.load import Config
from stream.errors import ConfigError
from stream.health import health_line
from stream.postprocess.batch import PostProcessor
from stream.runtime.notify import Notifier
from stream.runtime.pipeline import Pipeline
from stream.runtime.supervisor import Supervisor, worker_count
from stream.runtime.watchdog import Watchdog
from stream.tracking.lifecycle import max_gap_s

log = logging.getLogger("poselift")

_ANNOUNCE_S = 1.0  # how often meta messages are repeated for late joiners
_OPEN_S = 2.0  # how long the first lines wait for a sink to open


def run(
    config: Config, print_line: Callable[[str], None], post_processors: Sequence[PostProcessor] = ()
) -> None:
    """Run `config`; prints a line per sink at the start, and the health every `status_s`.

    post_processors: as for `Pipeline`. Raises the error that ended it early.
    """
    if worker_count(config) > 1:
        if post_processors:
            raise ConfigError(
                "workers: expected 1 with post-processors of your own, which stay in one process"
            )
        run_workers(config, print_line)
        return
    pipeline, notifier = Pipeline(config, post_processors=post_processors), Notifier()
    with stopped_by_signals(pipeline.stop), pipeline:
        lines = list(endpoints(pipeline))
        notifier.ready(", ".join(lines))
        for line in lines:
            print_line(line)
        try:
            supervise(pipeline, print_line, notifier)
        finally:
            notifier.stopping()
    print_line(f"stopped. {health_line(pipeline.status().report)}")
    if pipeline.error is not None:
        raise pipeline.error


def run_workers(config: Config, print_line: Callable[[str], None]) -> None:
    """Run `config` with its sources divided among processes; output and errors as for `run`."""
    supervisor, notifier = Supervisor(config), Notifier()
    with stopped_by_signals(supervisor.stop), supervisor:
        sinks = supervisor.relay.endpoints().items()
        lines = [f"{name}: {endpoint or config.sinks[name].type}" for name, endpoint in sinks]
        notifier.ready(", ".join(lines))
        for line in lines:
            print_line(line)
        try:
            supervisor.run(print_line, lambda: notifier.alive(health_line(supervisor.health.report())))
        finally:
            notifier.stopping()
    print_line(f"stopped. {health_line(supervisor.health.report())}")
    if supervisor.relay.error is not None:
        raise supervisor.relay.error


def supervise(
    pipeline: Pipeline, print_line: Callable[[str], None], notifier: Notifier | None = None
) -> None:
    """Repeat the meta messages, watch the threads and report health until the pipeline is done.

    notifier: gets a sign of life about once a second while all threads run.
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


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block, Ctrl-C and SIGTERM call `stop` instead of ending the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    numbers = signal.SIGINT, signal.SIGTERM
    previous = {number: signal.signal(number, lambda *_: stop()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
