"""Clocks: components take one as an argument, so that tests never sleep."""

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
