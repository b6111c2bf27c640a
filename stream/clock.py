"""Time as an argument: components take a clock, so tests never sleep."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic nanoseconds for durations, wall-clock nanoseconds for subscribers."""

    def now_ns(self) -> int: ...
    def unix_ns(self) -> int: ...
    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for `event` at most `timeout_s` seconds; True when it is set."""
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
    """A clock that stands still until a test moves it; waiting moves it at once."""

    def __init__(self, now_ns: int = 1_000_000_000, unix_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._unix_ns = unix_ns

    def now_ns(self) -> int:
        return self._now_ns

    def unix_ns(self) -> int:
        return self._unix_ns

    def advance(self, seconds: float) -> None:
        step_ns = round(seconds * 1e9)
        self._now_ns += step_ns
        self._unix_ns += step_ns

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if not event.is_set():
            self.advance(timeout_s)
        return event.is_set()
