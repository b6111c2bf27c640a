"""A worker: a process that runs a pipeline of some sources of a config for a supervisor."""

import gc
import logging
import signal
import sys
from dataclasses import replace
from multiprocessing.connection import Connection

from stream.config.load import ComponentConfig, Config
from stream.errors import ConfigError, PoseliftError
from stream.runtime.pipeline import Pipeline, load_lifter
from stream.runtime.worker_link import Reporter, WorkerSink

_TICK_S = 0.1  # how soon a worker notices an order to stop
_ANNOUNCE_TICKS = 10  # meta messages and health are sent once a second
SINK = "worker"  # name of the link in the health of a worker

# The names of the sources to run, or None: stop.
Order = tuple[str, ...] | None


def run_worker(config: Config, address: str, orders: "Connection[None, Order]", log_level: int) -> None:
    """Load the lifter, wait for an order with the names of sources, and run them until the order to stop.

    address: of the supervisor's socket for this worker. The worker also stops when `orders` is closed, which
    is how the end of the supervisor shows. Only the supervisor reacts to Ctrl-C.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=log_level, format="%(levelname)s %(message)s", stream=sys.stderr)
    with Reporter(address) as reporter:
        try:
            lifter = load_lifter(config.lifter)
            lifter.warm_up()
            sink = ComponentConfig(SINK, SINK, WorkerSink, WorkerSink.Settings(address=address))
            config = replace(config, sinks={SINK: sink})
            # Built for its checks and its imports alone, so that the time after the order is short.
            _require_live(Pipeline(config, lifter=lifter))
            reporter.report("ready")
            names = orders.recv()
            if names is not None:
                sources = {name: config.sources[name] for name in names}
                _serve(Pipeline(replace(config, sources=sources), lifter=lifter), orders, reporter)
        except EOFError:
            pass
        except PoseliftError as error:
            reporter.report("config_error" if isinstance(error, ConfigError) else "error", str(error))
            sys.exit(1)


def _require_live(pipeline: Pipeline) -> None:
    if recorded := [source.name for source in pipeline.source_threads if not source.live]:
        raise ConfigError(
            f"workers: expected live sources, got the recording {recorded[0]}, which another worker would "
            "start again from its beginning; set workers to 1"
        )


def _serve(pipeline: Pipeline, orders: "Connection[None, Order]", reporter: Reporter) -> None:
    with pipeline:
        reporter.report("running")
        gc.freeze()  # loaded objects stay alive; scanning them for garbage takes tens of milliseconds
        ticks = 0
        while not pipeline.wait(_TICK_S):
            if orders.poll():
                orders.recv()
                break
            ticks += 1
            if ticks % _ANNOUNCE_TICKS == 0:
                pipeline.announce()
                pipeline.status()
        pipeline.status()
    if pipeline.error is not None:
        raise pipeline.error
