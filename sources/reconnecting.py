"""A source that reopens itself: `read` returns None while a camera or sender is away."""

import dataclasses
import logging
import random
import threading
from collections.abc import Callable

from stream.clock import Backoff
from stream.errors import AddressInUse, SourceLost, SourceUnavailable
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext, Source

log = logging.getLogger("poselift")

MIN_DELAY_S, MAX_DELAY_S = 0.5, 15.0
DELAY_JITTER = 0.5  # cameras behind one switch must not all reconnect in the same instant
ADDRESS_WAIT_S = 5.0  # how long a source that was never open waits for an address that is in use
MAX_SEQ = 2**63 - 1  # the largest number of a frame on the wire; behind it numbering starts anew
CLOSE_GRACE_S = 0.5  # how long `close` waits for an attempt to open that is still running


@dataclasses.dataclass(slots=True)
class Numbering:
    """The highest number of all frames of a source so far, however often it was opened."""

    highest_seq: int = -1


class ReconnectingSource:
    """Opens sources made by `make_source` one after the other, and reopens after SourceLost.

    EndOfStream and all other errors are raised to the reader; of a file, which never comes back, SourceLost
    and SourceUnavailable too; and AddressInUse, when it lasts ADDRESS_WAIT_S before the source was ever open.
    Opening, waiting and closing a lost source run in a thread of their own, so `read` keeps to its timeout
    while a dead camera takes its time to fail.
    `make_source` is called once at construction, which checks the settings, and again for every further
    attempt. numbering: that of an earlier source of the same name, whose numbers go on.
    """

    def __init__(
        self,
        make_source: Callable[[], Source],
        context: ComponentContext,
        rng: random.Random | None = None,
        numbering: Numbering | None = None,
    ) -> None:
        self._make_source = make_source
        self._context = context
        self._numbering = numbering or Numbering()
        self._backoff = Backoff(MIN_DELAY_S, MAX_DELAY_S, DELAY_JITTER, rng)
        self._unopened: Source | None = make_source()
        self.live = self._unopened.live
        self._source: Source | None = None  # the open source; used by the reading thread only
        self._result: Source | Exception | None = None  # handed over by the opening thread
        self._result_ready = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()  # guards the hand-over of `_result` against `close`
        self._opener: threading.Thread | None = None
        self._source_was_open = False
        self._state = ""
        self._seq_base: int | None = None  # None until the first frame of the open source

    def open(self) -> None:
        """Start the first attempt; returns at once."""
        self._start_opening(lost=None)

    def close(self) -> None:
        with self._lock:
            self._stop.set()
            result, self._result = self._result, None
        for source in (self._source, result):
            if source is not None and not isinstance(source, Exception):
                source.close()
        self._source = None
        if self._opener is not None:
            self._opener.join(CLOSE_GRACE_S)
            if self._opener.is_alive():
                log.info("%s: an attempt to open it is still running and ends by itself", self._context.name)

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The next keypoints; None when none arrive within `timeout_s`, also while the source is away."""
        clock = self._context.clock
        end_ns = clock.now_ns() + round(timeout_s * 1e9)
        if self._source is None:
            if not clock.wait(self._result_ready, timeout_s):
                return None
            self._accept_opened()
        assert self._source is not None
        try:
            frame = self._source.read(max(0.0, (end_ns - clock.now_ns()) / 1e9))
        except (SourceLost, SourceUnavailable) as error:
            if not self.live:
                raise
            lost, self._source = self._source, None
            self._report("lost", str(error))
            self._start_opening(lost)
            return None
        if frame is None:
            return None
        if self._seq_base is None:
            self._on_first_frame(frame.header.seq)
        return self._renumbered(frame)

    def _accept_opened(self) -> None:
        """Take over the source, or raise the error, that the opening thread handed over."""
        with self._lock:
            if isinstance(self._result, Exception):
                raise self._result
            self._source, self._result, self._seq_base = self._result, None, None
        if not self._state:
            self._report("ok", "open")

    def _on_first_frame(self, seq: int) -> None:
        """Count the source as back: only a frame proves that it works."""
        self._backoff.reset()
        self._report("ok", "delivering")
        self._seq_base = self._numbering.highest_seq + 1 if seq <= self._numbering.highest_seq else 0

    def _renumbered(self, frame: KeypointFrame) -> KeypointFrame:
        """`frame` with a seq that continues after those of the sources before."""
        if frame.header.seq + (self._seq_base or 0) > MAX_SEQ:
            self._seq_base = 0
        seq = frame.header.seq + (self._seq_base or 0)
        self._numbering.highest_seq = max(self._numbering.highest_seq, seq)
        if not self._seq_base:
            return frame
        return dataclasses.replace(frame, header=dataclasses.replace(frame.header, seq=seq))

    # The opening thread

    def _start_opening(self, lost: Source | None) -> None:
        self._result_ready.clear()
        name = f"open:{self._context.name}"
        self._opener = threading.Thread(target=self._reopen, args=(lost,), name=name, daemon=True)
        self._opener.start()

    def _reopen(self, lost: Source | None) -> None:
        try:
            if lost is not None:
                lost.close()
                self._context.clock.wait(self._stop, self._backoff.next_delay_s())
            result: Source | Exception | None = self._open_next()
        except Exception as error:  # raised to the reader by `_accept_opened`
            result = error
        with self._lock:
            stopped = self._stop.is_set()
            self._result = None if stopped else result
            self._result_ready.set()
        if stopped and result is not None and not isinstance(result, Exception):
            result.close()

    def _open_next(self) -> Source | None:
        """Make sources until one opens, and return it; None when `close` is called first."""
        clock, was_open = self._context.clock, self._source_was_open
        until_ns = clock.now_ns() + round(ADDRESS_WAIT_S * 1e9)
        while not self._stop.is_set():
            source, self._unopened = self._unopened or self._make_source(), None
            try:
                source.open()
            except (SourceUnavailable, SourceLost) as error:
                in_use = isinstance(error, AddressInUse) and not was_open
                if not self.live or (in_use and clock.now_ns() >= until_ns):
                    raise
                self._report("retrying", str(error))
            else:
                self._source_was_open = True
                return source
            clock.wait(self._stop, self._backoff.next_delay_s())
        return None

    def _report(self, state: str, detail: str) -> None:
        """Record the state in health; log it when it changes."""
        name, previous = self._context.name, self._state
        if self._stop.is_set():  # closed: an attempt that ends late must not change the state any more
            return
        self._context.health.set_state(name, state, detail)
        self._state = state
        if state == previous:
            return
        if state == "ok":
            log.info("%s: is %s", name, "back" if previous else "open")
        else:
            action = "opening it again" if state == "lost" else "trying again until it opens"
            log.warning("%s: %s; %s", name, detail, action)
