"""Running a config until its sources end or someone says stop."""

import gc
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream.config.load import Config
from stream.health import health_line
from stream.runtime.pipeline import Pipeline

log = logging.getLogger("poselift")

_ANNOUNCE_S = 1.0  # late joiners learn within a second what they are listening to


def run(config: Config, say: Callable[[str], None]) -> None:
    """Run `config`; a line to `say` at the start and every `status_s`. Raises what ended it early."""
    pipeline = Pipeline(config)
    with stopped_by_signals(pipeline.stop), pipeline:
        for line in endpoints(pipeline):
            say(line)
        supervise(pipeline, say)
    say(f"stopped. {health_line(pipeline.status().report)}")
    if pipeline.error is not None:
        raise pipeline.error


def supervise(pipeline: Pipeline, say: Callable[[str], None]) -> None:
    """Announce the sources and report health until the pipeline is done."""
    clock, every_ns = pipeline.clock, pipeline.config.status_s * 1e9
    reported_ns = clock.now_ns()
    if pipeline.wait(_ANNOUNCE_S):
        return
    gc.freeze()  # what was loaded stays; to look through it for garbage takes tens of milliseconds
    while not pipeline.wait(_ANNOUNCE_S):
        pipeline.announce()
        if clock.now_ns() - reported_ns >= every_ns:
            reported_ns = clock.now_ns()
            say(health_line(pipeline.status().report))


def endpoints(pipeline: Pipeline) -> Iterator[str]:
    """Where the poses can be had, one line per sink that has an address."""
    for name, outlet in pipeline.outlets.items():
        outlet.ready(2.0)
        yield f"{name}: {outlet.endpoint or pipeline.config.sinks[name].type}"


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `stop` instead of tearing the process apart."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
