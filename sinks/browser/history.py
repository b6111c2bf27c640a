"""The latest pose frames, from which the page's recordings are made."""

import threading
from collections import deque

from stream.messages import Meta, PoseFrame

KEPT_S = 30.0  # always kept: as much as the timeline of the page shows
MAX_POSES = 100_000  # some 200 MB


class History:
    """Frames of the last 30 s, and of a recording under way up to `max_s`; used by several threads.

    At most MAX_POSES poses of persons are kept.
    """

    def __init__(self, max_s: float) -> None:
        self._max_s = max_s
        self._lock = threading.Lock()
        self._frames: deque[PoseFrame] = deque()
        self._poses = 0
        self._metas: dict[str, Meta] = {}
        self._keep_from_ms: float | None = None

    def describe(self, meta: Meta) -> None:
        """Remember the newest meta of a source."""
        with self._lock:
            self._metas[meta.source] = meta

    def has_source(self, name: str) -> bool:
        """Whether a meta of this source has come."""
        return name in self._metas

    def keep_from(self, unix_ms: float | None) -> None:
        """Keep frames captured since then; None: only those of the last 30 s."""
        with self._lock:
            self._keep_from_ms = unix_ms

    def add(self, frame: PoseFrame) -> None:
        """Append a frame and drop those that are too old."""
        with self._lock:
            self._frames.append(frame)
            self._poses += len(frame.persons)
            newest_ms = frame.header.captured_unix_ns / 1e6
            oldest_ms = newest_ms - 1000 * KEPT_S
            if self._keep_from_ms is not None:
                oldest_ms = max(min(oldest_ms, self._keep_from_ms - 1), newest_ms - 1000 * self._max_s)
            while self._poses > MAX_POSES or self._frames[0].header.captured_unix_ns / 1e6 < oldest_ms:
                self._poses -= len(self._frames.popleft().persons)

    def between(self, from_ms: float, to_ms: float, source: str | None) -> tuple[list[PoseFrame], list[Meta]]:
        """Frames captured between two times, of one source or of all, and the metas of their sources."""
        with self._lock:
            frames = [
                frame
                for frame in self._frames
                if from_ms - 1 <= frame.header.captured_unix_ns / 1e6 <= to_ms + 1
                and source in (None, frame.header.source)
            ]
            sources = {frame.header.source for frame in frames}
            return frames, [meta for name, meta in self._metas.items() if name in sources]
