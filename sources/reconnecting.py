"""A source that comes back: what is not there or goes away is opened again, and meanwhile reads are empty."""

import dataclasses
import logging
import random
import threading
from collections.abc import Callable, Iterator

from stream.errors import SourceLost, SourceUnavailable
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext, Source

log = logging.getLogger("poselift")

_FIRST_S, _MOST_S = 0.5, 15.0
_CLOSE_S = 0.5


def backoff(rng: random.Random) -> Iterator[float]:
    """Seconds to wait before each attempt: doubling up to 15, less up to half of that at random.

    The randomness keeps the cameras behind one switch from coming back all at once.
    """
    delay_s = _FIRST_S
    while True:
        yield delay_s * rng.uniform(0.5, 1.0)
        delay_s = min(2 * delay_s, _MOST_S)


class Reconnecting:
    """Opens sources made by `make_source`, one after the other; their end and mistakes pass through.

    Opening, waiting and closing what is lost take place in a thread of their own, so that `read`
    keeps to its timeout while a dead camera takes its time to fail. `make_source` is called once at
    construction, which checks the settings, and again for every further attempt.
    """

    def __init__(
        self, make_source: Callable[[], Source], context: ComponentContext, rng: random.Random | None = None
    ) -> None:
        self._make_source = make_source
        self._context = context
        self._rng = rng or random.Random()
        self._delays = backoff(self._rng)
        self._made: Source | None = make_source()
        self.live = self._made.live
        self._source: Source | None = None  # being read
        self._opened: Source | Exception | None = None  # handed over by the opening thread
        self._settled = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()  # of the hand-over, against a stop at the same time
        self._opener: threading.Thread | None = None
        self._state = ""
        self._highest_seq = -1
        self._seq_base: int | None = None  # None until a source's first frame

    def open(self) -> None:
        self._start_opening(lost=None)

    def close(self) -> None:
        with self._lock:
            self._stop.set()
            opened, self._opened = self._opened, None
        for source in (self._source, opened):
            if source is not None and not isinstance(source, Exception):
                source.close()
        self._source = None
        if self._opener is not None:
            self._opener.join(_CLOSE_S)
            if self._opener.is_alive():
                log.info("%s: an attempt to open it still hangs; it ends by itself", self._context.name)

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The next keypoints; None when there are none within `timeout_s`, as while the source is away."""
        clock = self._context.clock
        end_ns = clock.now_ns() + round(timeout_s * 1e9)
        if self._source is None:
            if not clock.wait(self._settled, timeout_s):
                return None
            self._take()
        assert self._source is not None
        try:
            frame = self._source.read(max(0.0, (end_ns - clock.now_ns()) / 1e9))
        except (SourceLost, SourceUnavailable) as error:
            lost, self._source = self._source, None
            self._say("lost", str(error))
            self._start_opening(lost)
            return None
        if frame is None:
            return None
        if self._seq_base is None:
            self._welcome(frame.header.seq)
        return self._renumbered(frame)

    def _take(self) -> None:
        with self._lock:
            if isinstance(self._opened, Exception):
                raise self._opened
            self._source, self._opened, self._seq_base = self._opened, None, None
        if not self._state:
            self._say("ok", "open")

    def _welcome(self, seq: int) -> None:
        """The first frame of an opened source: now it is back for certain."""
        self._delays = backoff(self._rng)
        self._say("ok", "delivering")
        self._seq_base = self._highest_seq + 1 if seq <= self._highest_seq else 0

    def _renumbered(self, frame: KeypointFrame) -> KeypointFrame:
        """`frame` with a seq that goes on where the source before this one stopped."""
        seq = frame.header.seq + (self._seq_base or 0)
        self._highest_seq = max(self._highest_seq, seq)
        if not self._seq_base:
            return frame
        return dataclasses.replace(frame, header=dataclasses.replace(frame.header, seq=seq))

    # The opening thread

    def _start_opening(self, lost: Source | None) -> None:
        self._settled.clear()
        name = f"open:{self._context.name}"
        self._opener = threading.Thread(target=self._reopen, args=(lost,), name=name, daemon=True)
        self._opener.start()

    def _reopen(self, lost: Source | None) -> None:
        try:
            if lost is not None:
                lost.close()
                self._context.clock.wait(self._stop, next(self._delays))
            opened: Source | Exception | None = self._attempts()
        except Exception as error:  # raised where keypoints are read
            opened = error
        with self._lock:
            late = self._stop.is_set()
            self._opened = None if late else opened
            self._settled.set()
        if late and opened is not None and not isinstance(opened, Exception):
            opened.close()

    def _attempts(self) -> Source | None:
        """The source, opened; None when there is a stop first."""
        while not self._stop.is_set():
            source, self._made = self._made or self._make_source(), None
            try:
                source.open()
            except (SourceUnavailable, SourceLost) as error:
                self._say("retrying", str(error))
            else:
                return source
            self._context.clock.wait(self._stop, next(self._delays))
        return None

    def _say(self, state: str, detail: str) -> None:
        """Report the state; a change is also said in the log."""
        name, before = self._context.name, self._state
        self._context.health.set_state(name, state, detail)
        self._state = state
        if state == before:
            return
        if state == "ok":
            log.info("%s: is %s", name, "back" if before else "open")
        else:
            what = "opening it again" if state == "lost" else "trying again until it works"
            log.warning("%s: %s; %s", name, detail, what)
