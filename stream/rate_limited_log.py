"""Log lines of events that a stranger can cause: at most one line per kind of event and interval."""

import logging
import threading

from stream.clock import Clock

log = logging.getLogger("poselift")

INTERVAL_S = 10.0


class RateLimitedLog:
    """Logs each kind of event at most once per INTERVAL_S, with the number of events left out since.

    A kind is a fixed word of the caller and never text from a message, so that memory stays bounded.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._next_ns: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, kind: str, text: str, *args: object) -> None:
        """Log `text % args` as a warning, or only count it while the last line of this kind is recent."""
        with self._lock:
            now_ns = self._clock.now_ns()
            if now_ns < self._next_ns.get(kind, now_ns):
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return
            self._next_ns[kind] = now_ns + round(INTERVAL_S * 1e9)
            left_out = self._left_out.pop(kind, 0)
        if left_out:
            log.warning(text + " (and %d times more since the last such line)", *args, left_out)
        else:
            log.warning(text, *args)
