"""Run a lifter service until a signal stops it."""

import threading
from collections.abc import Callable
from typing import Any

from stream.clock import SystemClock
from stream.config.load import Config
from stream.protocols import ComponentContext, opened
from stream.runtime.lifter_service import NAME, LifterService, ServiceSettings
from stream.runtime.notify import Notifier
from stream.runtime.pipeline import load_here
from stream.runtime.signals import stopped_by_signals

_TICK_S = 0.2
_SIGN_S = 1.0  # between signs of life for systemd


def serve_lifter(config: Config, settings: ServiceSettings, print_line: Callable[[str], None]) -> None:
    """Serve the lifter of `config`; prints the address at the start and the load every `status_s`."""
    lifter = load_here(config.lifter)
    config.lifter.check(lifter.spec)
    lifter.warm_up()
    clock = SystemClock()
    context = ComponentContext(NAME, config.node, clock=clock)
    computed_on = f"{lifter.device}, {config.lifter.dtype}, {lifter.engine}"
    service, stop, notifier = (
        LifterService(lifter, settings, context, computed_on),
        threading.Event(),
        Notifier(),
    )
    with stopped_by_signals(stop.set), opened(service):
        print_line(f"{service.model.text()} on {computed_on}: {service.endpoint}")
        notifier.ready(service.endpoint)
        reported_ns = signed_ns = clock.now_ns()
        while not stop.is_set():
            service.serve(_TICK_S)
            now_ns = clock.now_ns()
            if now_ns - signed_ns >= _SIGN_S * 1e9:
                signed_ns = now_ns
                notifier.alive(load_line(context.health.report()))
            if now_ns - reported_ns >= config.status_s * 1e9:
                reported_ns = now_ns
                print_line(load_line(context.health.report()))
        notifier.stopping()
    print_line(f"stopped. {load_line(context.health.report())}")


def load_line(report: dict[str, Any]) -> str:
    """One line for the terminal: windows, size and duration of batches, and what was not lifted."""
    counters, stages = report["counters"], report["stages_ms"]
    windows, batches = (counters.get(f"{NAME}.{event}", 0) for event in ("windows", "batches"))
    parts = [f"{windows} windows in {batches} batches"]
    if batches:
        parts.append(f"per batch {stages['batch']['p50']:.0f}/{stages['batch']['p95']:.0f} windows")
        parts.append(f"lift {stages['lift']['p50']:.1f}/{stages['lift']['p95']:.1f} ms")
    drops = {key: count for key, count in counters.items() if ".drop." in key}
    return " | ".join(
        [*parts, *(f"dropped {count} ({key.rpartition('.')[2]})" for key, count in drops.items())]
    )
