"""Health of a running node: counters, latency percentiles and states, written by all threads."""

import threading
from collections import deque
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_SAMPLES = 512  # latest samples per stage: enough for a p99, few enough to sort every few seconds
# A status message stays below 64 kB.
MAX_COUNTERS_BYTES, COUNTER_BYTES = 30_000, 24  # the second: of a number with its quotes and commas
MAX_STATES, MAX_DETAIL = 64, 300


class Health:
    """Thread-safe record of counters, samples and states by component; status messages carry its report."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._dropped: dict[str, int] = {}
        self._samples_ms: dict[str, deque[float]] = {}
        self._states: dict[str, dict[str, str]] = {}
        self._latest_ns: dict[tuple[str, str], int] = {}

    def increment(self, component: str, event: str, count: int = 1) -> None:
        """Add `count` to the counter `component.event`, for example ("cam0", "drop.newest_wins")."""
        key = component, event
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + count
            if event.startswith("drop."):
                self._dropped[component] = self._dropped.get(component, 0) + count

    def merge(self, component: str, into: str) -> None:
        """Add the counters of a component to those of `into`, and forget the component."""
        with self._lock:
            for key in [key for key in self._counts if key[0] == component]:
                target = into, key[1]
                self._counts[target] = self._counts.get(target, 0) + self._counts.pop(key)
            self._dropped[into] = self._dropped.get(into, 0) + self._dropped.pop(component, 0)
            self._states.pop(component, None)
            for key in [key for key in list(self._latest_ns) if key[0] == component]:
                self._latest_ns.pop(key, None)

    def counter(self, component: str, event: str) -> int:
        """Value of a counter; 0 before its first increment."""
        with self._lock:
            return self._counts.get((component, event), 0)

    def dropped(self, component: str) -> int:
        """Sum of all drops of `component`, for any reason."""
        with self._lock:
            return self._dropped.get(component, 0)

    def observe_ms(self, stage: str, *ms: float) -> None:
        """Record the milliseconds that one or several frames spent in `stage`."""
        with self._lock:
            samples = self._samples_ms.get(stage)
            if samples is None:
                samples = self._samples_ms[stage] = deque(maxlen=MAX_SAMPLES)
            samples.extend(ms)

    def set_state(self, component: str, state: str, detail: str = "") -> None:
        """Set the state of a component, such as "ok", "lost", "retrying" or "ended"; detail: a sentence."""
        with self._lock:
            self._states[component] = {"state": state, "detail": detail}

    def touch(self, component: str, event: str, now_ns: int) -> None:
        """Record that `event`, such as "frame" or "loop", happened at `now_ns` of the monotonic clock."""
        self._latest_ns[component, event] = now_ns  # no lock: one assignment, several times per frame

    def forget(self, component: str, event: str) -> None:
        """Record that `event` no longer happens, because the component has ended."""
        with self._lock:
            self._latest_ns.pop((component, event), None)

    def ages_s(self, event: str, now_ns: int) -> dict[str, float]:
        """Seconds since the latest `event`, by component."""
        latest = list(self._latest_ns.items())  # one call, during which no other thread runs
        return {
            component: (now_ns - latest_ns) / 1e9
            for (component, other), latest_ns in latest
            if other == event
        }

    def report(self) -> dict[str, Any]:
        """Counters, states, and p50, p95, p99 per stage in milliseconds, as values that JSON can express.

        At most MAX_COUNTERS_BYTES of counters: those of further components are summed up as `others`.
        """
        with self._lock:
            counts = _limited(self._counts, {*self._states, "lift"})
            states = {
                component: {key: text[:MAX_DETAIL] for key, text in state.items()}
                for component, state in list(self._states.items())[:MAX_STATES]
            }
            samples = {stage: np.array(ms) for stage, ms in self._samples_ms.items()}
        return {
            "counters": counts,
            "states": states,
            "stages_ms": {stage: _percentiles(ms) for stage, ms in samples.items()},
        }


def _limited(counts: dict[tuple[str, str], int], first: Collection[str]) -> dict[str, int]:
    """Counters by `component.event`, those of the components `first` before others, as far as they fit."""
    limited: dict[str, int] = {}
    size = 0
    # The sort is stable: the components keep their order.
    for (component, event), count in sorted(counts.items(), key=lambda item: item[0][0] not in first):
        key = f"{component}.{event}"
        size += len(key.encode()) + COUNTER_BYTES
        if size > MAX_COUNTERS_BYTES:
            key = f"others.{event}"
        limited[key] = limited.get(key, 0) + count
    return limited


def stalled_threads(health: Health, now_ns: int, limit_s: float) -> dict[str, float]:
    """Seconds since the last turn of every source and lift thread that has made none for `limit_s`."""
    return {thread: age_s for thread, age_s in health.ages_s("loop", now_ns).items() if age_s > limit_s}


def _percentiles(ms: NDArray[np.float64]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(ms, [50, 95, 99]).round(3).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "n": int(ms.size)}


def health_line(report: dict[str, Any]) -> str:
    """One line for the terminal: poses, latency per stage, drops, and the components that are not ok."""
    stages, counters = report["stages_ms"], report["counters"]
    parts = [f"{counters.get('lift.frames', 0)} frames, {counters.get('lift.poses', 0)} poses"]
    for stage in ("detect", "queue", "lift", "age"):
        if stage in stages:
            parts.append(f"{stage} {stages[stage]['p50']:.1f}/{stages[stage]['p95']:.1f} ms")
    if "hop" in stages:
        parts.append(f"hop {stages['hop']['p50']:.0f}")
    drops = {key: count for key, count in counters.items() if ".drop." in key}
    parts += [f"dropped {count} ({key.replace('.drop.', ': ')})" for key, count in drops.items()]
    states = report["states"].items()
    not_ok = {component: state for component, state in states if state["state"] not in ("ok", "ended")}
    parts += [f"{component} {state['state']}: {state['detail']}" for component, state in not_ok.items()]
    return " | ".join(parts)
