"""How many people a lifter keeps up with, by a simulation that is quick enough to try thousands of them.

Every person's update is due when the last of its `hop` frames is captured; people are spread evenly over
a hop. Whenever the lifter is free it takes all that is due, in batches, and publishes when all of them
are done; updates of one person that wait together are one window. An update's age is the time from when
it was due until it was published. What the detector and the network around take is not in it. Turns and
deadlines of sources are left out; benchmarks/schedule.py has them, and keeps up with as many people.
"""

from collections.abc import Callable, Sequence

import numpy as np

from lifter.spec import MAX_WINDOWS

_SECONDS, _PASSES = 5.0, 1000  # whichever is over first; ages settle within a few passes
_MOST = 4096


def people(batch_ms: Callable[[int], float], hop: int, rate_hz: float = 50.0, limit_ms: float = 100.0) -> int:
    """The most people whose updates keep a p99 of age within the limit."""
    if age_p99_ms(batch_ms, 1, hop, rate_hz) > limit_ms:
        return 0
    low, high = 1, 2
    while high <= _MOST and age_p99_ms(batch_ms, high, hop, rate_hz) <= limit_ms:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        within = age_p99_ms(batch_ms, middle, hop, rate_hz) <= limit_ms
        low, high = (middle, high) if within else (low, middle)
    return low


def age_p99_ms(batch_ms: Callable[[int], float], number: int, hop: int, rate_hz: float) -> float:
    """The age that 99 of 100 updates stay under with so many people, infinite when they pile up."""
    period_ms = hop * 1e3 / rate_hz
    due_ms = np.arange(number) / number * period_ms  # each person's next update
    ages: list[np.ndarray] = []
    now_ms, end_ms = 0.0, _SECONDS * 1e3
    while now_ms < end_ms and len(ages) < _PASSES:
        waiting = due_ms <= now_ms
        if not waiting.any():
            now_ms = float(due_ms.min())
            continue
        windows = int(waiting.sum())
        batches = [min(MAX_WINDOWS, windows - first) for first in range(0, windows, MAX_WINDOWS)]
        done_ms = now_ms + sum(map(batch_ms, batches))
        missed = np.floor((now_ms - due_ms[waiting]) / period_ms)  # updates that waited behind the first
        ages.append(done_ms - due_ms[waiting])
        due_ms[waiting] += (missed + 1) * period_ms
        now_ms = done_ms
    return float(np.percentile(np.concatenate(ages), 99)) if ages else 0.0


def between(batches: Sequence[int], ms: Sequence[float]) -> Callable[[int], float]:
    """Time of a batch of any size from those measured: linear between them and beyond the last."""
    if len(batches) == 1:
        return lambda size: ms[0] * size / batches[0]
    slope = (ms[-1] - ms[-2]) / (batches[-1] - batches[-2])

    def estimate(size: int) -> float:
        if size > batches[-1]:
            return ms[-1] + slope * (size - batches[-1])
        return float(np.interp(size, batches, ms))

    return estimate
