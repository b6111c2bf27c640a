"""Counters, percentiles and states of a running node, written by all threads, read as one report."""

import threading
from collections import deque
from typing import Any

import numpy as np

_KEPT = 512  # latest samples per stage: enough for a p99, small enough to sort every few seconds


class Health:
    """Thread-safe record of what happens where; `report()` is what status messages carry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._dropped: dict[str, int] = {}
        self._samples_ms: dict[str, deque[float]] = {}
        self._states: dict[str, dict[str, str]] = {}

    def increment(self, place: str, what: str, n: int = 1) -> None:
        """Add `n` to the counter `place.what`, for example ("cam0", "drop.newest_wins")."""
        key = place, what
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + n
            if what.startswith("drop."):
                self._dropped[place] = self._dropped.get(place, 0) + n

    def counter(self, place: str, what: str) -> int:
        with self._lock:
            return self._counts.get((place, what), 0)

    def dropped(self, place: str) -> int:
        """All drops counted under `place`, whatever the reason."""
        with self._lock:
            return self._dropped.get(place, 0)

    def observe_ms(self, stage: str, *ms: float) -> None:
        """Record how many milliseconds one frame, or each of several, spent in `stage`."""
        with self._lock:
            samples = self._samples_ms.get(stage)
            if samples is None:
                samples = self._samples_ms[stage] = deque(maxlen=_KEPT)
            samples.extend(ms)

    def set_state(self, place: str, state: str, detail: str = "") -> None:
        """Say how a source or sink is: "ok", "lost", "retrying", "ended", with a sentence."""
        with self._lock:
            self._states[place] = {"state": state, "detail": detail}

    def report(self) -> dict[str, Any]:
        """Plain dict: counters, states, and per stage p50, p95, p99 in milliseconds."""
        with self._lock:
            counts = {f"{place}.{what}": n for (place, what), n in self._counts.items()}
            states = {place: dict(state) for place, state in self._states.items()}
            samples = {stage: np.array(ms) for stage, ms in self._samples_ms.items()}
        return {
            "counters": counts,
            "states": states,
            "stages_ms": {stage: _percentiles(ms) for stage, ms in samples.items()},
        }


def _percentiles(ms: np.ndarray) -> dict[str, float]:
    p50, p95, p99 = np.percentile(ms, [50, 95, 99]).round(3).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "n": int(ms.size)}


def health_line(report: dict[str, Any]) -> str:
    """One line for a person: poses, ages per stage, drops, and whatever is not well."""
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
