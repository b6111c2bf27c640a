"""Estimate how many people a lifter keeps up with, by a simulation fast enough for thousands of people.

Each person's update is due when the last of its `hop` frames is captured; people are spread evenly over
a hop. Whenever the lifter is free it takes all due updates, in batches, and publishes when all batches
are done; waiting updates of one person become one window. The age of an update is the time from when it
was due until it is published, without the detector and the network. The simulation does not model the
turns and deadlines of sources; benchmarks/schedule.py does, and finds the same numbers of people.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lifter.spec import MAX_WINDOWS

F64 = NDArray[np.float64]
# The simulation ends at the first of these; ages settle within a few passes.
_SIMULATED_S, _MAX_PASSES = 5.0, 1000
_MAX_PEOPLE = 4096


def max_people(
    batch_ms: Callable[[int], float], hop: int, rate_hz: float = 50.0, limit_ms: float = 100.0
) -> int:
    """The largest number of people for which the p99 age of updates is at most `limit_ms`, by bisection.

    batch_ms: time of a batch of a number of windows.
    """
    if age_p99_ms(batch_ms, 1, hop, rate_hz) > limit_ms:
        return 0
    low, high = 1, 2
    while high <= _MAX_PEOPLE and age_p99_ms(batch_ms, high, hop, rate_hz) <= limit_ms:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        within = age_p99_ms(batch_ms, middle, hop, rate_hz) <= limit_ms
        low, high = (middle, high) if within else (low, middle)
    return low


def age_p99_ms(batch_ms: Callable[[int], float], people: int, hop: int, rate_hz: float) -> float:
    """The 99th percentile of the age of updates, for a number of people."""
    period_ms = hop * 1e3 / rate_hz
    due_ms = np.arange(people) / people * period_ms  # each person's next update
    ages: list[F64] = []
    now_ms, end_ms = 0.0, _SIMULATED_S * 1e3
    while now_ms < end_ms and len(ages) < _MAX_PASSES:
        waiting = due_ms <= now_ms
        if not waiting.any():
            now_ms = float(due_ms.min())
            continue
        windows = int(waiting.sum())
        batches = [min(MAX_WINDOWS, windows - first) for first in range(0, windows, MAX_WINDOWS)]
        done_ms = now_ms + sum(map(batch_ms, batches))
        merged = np.floor((now_ms - due_ms[waiting]) / period_ms)  # later updates in the same window
        ages.append(done_ms - due_ms[waiting])
        due_ms[waiting] += (merged + 1) * period_ms
        now_ms = done_ms
    return float(np.percentile(np.concatenate(ages), 99)) if ages else 0.0


def batch_time_model(batches: Sequence[int], ms: Sequence[float]) -> Callable[[int], float]:
    """Function from a batch size to its time in ms: linear between measured sizes, and beyond the last."""
    if len(batches) == 1:
        return lambda size: ms[0] * size / batches[0]
    slope = (ms[-1] - ms[-2]) / (batches[-1] - batches[-2])

    def estimate(size: int) -> float:
        if size > batches[-1]:
            return ms[-1] + slope * (size - batches[-1])
        return float(np.interp(size, batches, ms))

    return estimate
