"""A worker: a process that runs a pipeline of some sources of a config for a supervisor."""

import gc
import logging
import signal
import sys
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Protocol

from stream.config.load import ComponentConfig, Config
from stream.errors import ConfigError, PoseliftError
from stream.runtime.pipeline import Pipeline, load_lifter
from stream.runtime.source_changes import require_live
from stream.runtime.worker_link import Reporter, WorkerSink

log = logging.getLogger("poselift")

_TICK_S = 0.1  # how soon a worker notices an order to stop
_ANNOUNCE_TICKS = 10  # meta messages and health are sent once a second
SINK = "worker"  # name of the link in the health of a worker

# The config whose sources the worker is to run from now on, or None: stop.
Order = Config | None


class Orders(Protocol):
    """Orders of the supervisor; EOFError when it is gone."""

    def poll(self) -> bool:
        """Whether `recv` returns or raises at once."""
        ...

    def recv(self) -> Order: ...


def run_worker(config: Config, address: str, orders: "Connection[None, Order]", log_level: int) -> None:
    """Load the lifter, wait for an order with sources, and run them until the order to stop.

    config: with the sources of all workers. address: of the supervisor's socket for this worker. The worker
    also stops when `orders` is closed, which is how the end of the supervisor shows. Only the supervisor
    reacts to Ctrl-C and SIGHUP.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(level=log_level, format="%(levelname)s %(message)s", stream=sys.stderr)
    sink = ComponentConfig(SINK, SINK, WorkerSink, WorkerSink.Settings(address=address))
    with Reporter(address) as reporter:
        exit_code = work(config, sink, orders, reporter)
    sys.exit(exit_code)


def work(config: Config, sink: ComponentConfig, orders: Orders, reporter: Reporter) -> int:
    """Run the sources of orders with `sink` as the only sink; returns an exit code."""
    try:
        lifter = load_lifter(config.lifter)
        lifter.warm_up()
        # Built for its checks and its imports alone, so that the time after the order is short.
        for source in Pipeline(replace(config, sinks={SINK: sink}), lifter=lifter).source_threads:
            require_live(source.name, source)
        reporter.report("ready")
        order = orders.recv()
        if order is not None:
            _serve(Pipeline(replace(order, sinks={SINK: sink}), lifter=lifter), orders, reporter)
    except EOFError:
        pass
    except PoseliftError as error:
        reporter.report("config_error" if isinstance(error, ConfigError) else "error", str(error))
        return 1
    return 0


def _change(pipeline: Pipeline, config: Config, reporter: Reporter) -> None:
    try:
        pipeline.change_sources(config)
    except PoseliftError as error:
        log.error("the sources stay as they are: %s", error)
    reporter.report("running")


def _serve(pipeline: Pipeline, orders: Orders, reporter: Reporter) -> None:
    with pipeline:
        reporter.report("running")
        gc.freeze()  # loaded objects stay alive; scanning them for garbage takes tens of milliseconds
        ticks = 0
        while not pipeline.wait(_TICK_S):
            if orders.poll():
                order = orders.recv()
                if order is None:
                    break
                _change(pipeline, order, reporter)
            ticks += 1
            if ticks % _ANNOUNCE_TICKS == 0:
                pipeline.announce()
                pipeline.status()
        pipeline.status()
    if pipeline.error is not None:
        raise pipeline.error
