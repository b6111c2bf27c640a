"""Clocks, passed to components as arguments so that tests never sleep, and delays between attempts."""

import random
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Source of time for every component."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds, for durations."""
        ...

    def unix_ns(self) -> int:
        """Wall-clock nanoseconds since 1970, for messages."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for `event`, at most `timeout_s`; True if it is set."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def unix_ns(self) -> int:
        return time.time_ns()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)


class FakeClock:
    """A clock that moves only when a test advances it, and by `timeout_s` in every wait."""

    def __init__(self, now_ns: int = 1_000_000_000, unix_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._unix_ns = unix_ns

    def now_ns(self) -> int:
        return self._now_ns

    def unix_ns(self) -> int:
        return self._unix_ns

    def advance(self, seconds: float) -> None:
        """Move both times forward."""
        step_ns = round(seconds * 1e9)
        self._now_ns += step_ns
        self._unix_ns += step_ns

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if not event.is_set():
            self.advance(timeout_s)
        return event.is_set()


class Backoff:
    """Delays between attempts: doubling from `first_s` up to `max_s` seconds.

    jitter: each delay is shortened at random by up to this share of it (0 to 1), so that components that
    failed together do not all try again at the same moment.
    """

    def __init__(
        self, first_s: float, max_s: float, jitter: float = 0.2, rng: random.Random | None = None
    ) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._jitter = jitter
        self._rng = rng or random.Random()
        self._delay_s = first_s

    def next_delay_s(self) -> float:
        """Seconds to wait before the next attempt."""
        delay_s = self._delay_s
        self._delay_s = min(2 * delay_s, self._max_s)
        return delay_s * (1 - self._jitter * self._rng.random())

    def reset(self) -> None:
        """Start again at `first_s`, after an attempt that succeeded."""
        self._delay_s = self._first_s
