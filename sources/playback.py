"""Timing of recorded frames: a frame is held back until its playback time."""

import threading

from stream.clock import Clock
from stream.messages import Header


class Playback:
    """Releases recorded frames `speed` times as fast as they were recorded, or at once (speed None).

    With a speed, a frame's capture time is its playback time, as if a camera delivered it now. Without, it
    keeps the recorded times, and captured_ns counts from the first frame, so every run of a file gives
    identical frames.
    """

    def __init__(self, clock: Clock, speed: float | None) -> None:
        self._clock = clock
        self._speed = speed
        self._closed = threading.Event()
        self._start_ns = self._start_unix_ns = 0

    def start(self) -> None:
        """The first frame plays now."""
        self._closed.clear()
        self._start_ns, self._start_unix_ns = self._clock.now_ns(), self._clock.unix_ns()

    def stop(self) -> None:
        """End a `wait_until_due` in another thread."""
        self._closed.set()

    def wait_until_due(self, offset_ns: int, timeout_s: float) -> bool:
        """Wait for the playback time of the frame recorded `offset_ns` after the first.

        False when that takes longer than `timeout_s`, or when playback is stopped meanwhile.
        """
        if self._speed is None:
            return True
        wait_s = (self._played_ns(offset_ns) + self._start_ns - self._clock.now_ns()) / 1e9
        if wait_s > timeout_s:
            self._clock.wait(self._closed, timeout_s)
            return False
        if wait_s > 0:
            self._clock.wait(self._closed, wait_s)
        return not self._closed.is_set()

    def header(self, source: str, seq: int, offset_ns: int, unix_ns: int) -> Header:
        """Header of the frame recorded `offset_ns` after the first, at wall-clock time `unix_ns`."""
        if self._speed is None:
            return Header(source, seq, offset_ns, unix_ns)
        played_ns = self._played_ns(offset_ns)
        return Header(source, seq, self._start_ns + played_ns, self._start_unix_ns + played_ns)

    def detected_ns(self, header: Header) -> int:
        """Detection time of a frame released just now: now, or its capture time without a speed."""
        return header.captured_ns if self._speed is None else self._clock.now_ns()

    def _played_ns(self, offset_ns: int) -> int:
        return offset_ns if self._speed in (None, 1.0) else round(offset_ns / self._speed)
