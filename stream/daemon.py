"""Running a config until its sources end or someone says stop."""

import gc
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stream.config import Config
from stream.messages import Status
from stream.pipeline import Pipeline

log = logging.getLogger("poselift")

_ANNOUNCE_S = 1.0  # late joiners learn within a second what they are listening to


def run(config: Config, say: Callable[[str], None]) -> None:
    """Run `config`; a line to `say` at the start and every `status_s`. Raises what ended it early."""
    pipeline = Pipeline(config)
    with stopped_by_signals(pipeline.stop), pipeline:
        for line in addresses(pipeline):
            say(line)
        supervise(pipeline, say)
    say(f"stopped. {summary(pipeline.status())}")
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
            say(summary(pipeline.status()))


def addresses(pipeline: Pipeline) -> Iterator[str]:
    """Where the poses can be had, one line per sink that has an address."""
    for name, outlet in pipeline.outlets.items():
        outlet.ready(2.0)
        endpoint = getattr(outlet.sink, "endpoint", None)
        yield f"{name}: {endpoint}" if endpoint else f"{name}: {pipeline.config.sinks[name].type}"


def summary(status: Status) -> str:
    """One line for a person: poses, ages per stage, drops, and whatever is not well."""
    report: dict[str, Any] = status.report
    stages, counters = report["stages_ms"], report["counters"]
    parts = [f"{counters.get('lift.frames', 0)} frames, {counters.get('lift.poses', 0)} poses"]
    for stage in ("detect", "queue", "lift", "age"):
        if stage in stages:
            parts.append(f"{stage} {stages[stage]['p50']:.1f}/{stages[stage]['p95']:.1f} ms")
    if "hop" in stages:
        parts.append(f"hop {stages['hop']['p50']:.0f}")
    drops = {key: n for key, n in counters.items() if ".drop." in key}
    parts += [f"dropped {n} ({key.replace('.drop.', ': ')})" for key, n in drops.items()]
    ill = {name: state for name, state in report["states"].items() if state["state"] not in ("ok", "ended")}
    parts += [f"{name} {state['state']}: {state['detail']}" for name, state in ill.items()]
    return " | ".join(parts)


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
