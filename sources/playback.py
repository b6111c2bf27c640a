"""Holding frames back until their time has come."""

import threading

from stream.clock import Clock
from stream.messages import Header


class Playback:
    """Lets frames through at the times they were made for, `speed` times as fast, or all at once (None).

    At some speed a frame is captured when it is due, like a camera's. All at once it keeps its own
    times: captured_ns counts from the first frame and unix time is as recorded, so that every run of
    a file gives the same frames.
    """

    def __init__(self, clock: Clock, speed: float | None) -> None:
        self._clock = clock
        self._speed = speed
        self._closed = threading.Event()
        self._start_ns = self._start_unix_ns = 0

    def start(self) -> None:
        self._closed.clear()
        self._start_ns, self._start_unix_ns = self._clock.now_ns(), self._clock.unix_ns()

    def stop(self) -> None:
        """Wake who waits."""
        self._closed.set()

    def due(self, offset_ns: int, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for the frame made `offset_ns` after the first; True when it is due."""
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
        """Header of the frame made `offset_ns` after the first, at wall-clock time `unix_ns`."""
        if self._speed is None:
            return Header(source, seq, offset_ns, unix_ns)
        played_ns = self._played_ns(offset_ns)
        return Header(source, seq, self._start_ns + played_ns, self._start_unix_ns + played_ns)

    def known_ns(self, header: Header) -> int:
        """When the keypoints of a frame just let through were known: now, or at once in a file's own time."""
        return header.captured_ns if self._speed is None else self._clock.now_ns()

    def _played_ns(self, offset_ns: int) -> int:
        return offset_ns if self._speed in (None, 1.0) else round(offset_ns / self._speed)
