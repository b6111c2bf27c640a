"""A thread that empties a camera: whoever reads gets the newest frame, and never waits for a dead one."""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from stream.errors import SourceLost, SourceUnavailable
from stream.messages import U8, Frame, Header
from stream.protocols import ComponentContext
from stream.queues import DropOldestQueue

log = logging.getLogger("poselift")

_CLOSE_S = 0.5


class CaptureLike(Protocol):
    """A camera or stream; its calls may block."""

    def grab(self) -> bool: ...

    def image(self) -> U8 | None:
        """The grabbed frame (H, W, 3) uint8 RGB, or None when it cannot be decoded."""
        ...

    def release(self) -> None: ...


class LatestFrameReader:
    """Opens and reads a capture in a thread of its own; frames nobody took in time are dropped and counted.

    what: the camera or stream, for messages; silence_s: seconds without a frame after which it is lost.
    """

    def __init__(
        self, connect: Callable[[], CaptureLike], what: str, silence_s: float, context: ComponentContext
    ) -> None:
        self._connect = connect
        self._what = what
        self._silence_s = silence_s
        self._context = context
        self._newest: DropOldestQueue[Frame] = DropOldestQueue(
            1, on_drop=lambda: context.health.increment(context.name, "drop.newest_wins")
        )
        self._settled = threading.Event()  # open, or failed
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._heard_ns = 0
        self._thread = threading.Thread(target=self._run, name=f"grab:{context.name}", daemon=True)

    def open(self, timeout_s: float) -> None:
        """Return once the capture is open; raises SourceUnavailable also when that takes too long."""
        self._thread.start()
        if not self._context.clock.wait(self._settled, timeout_s):
            self.close()
            raise SourceUnavailable(f"{self._what} did not open within {timeout_s:g} s")
        if self._error is not None and self._heard_ns == 0:
            raise self._error

    def read(self, timeout_s: float) -> Frame | None:
        """The newest frame not read yet; None when none comes within `timeout_s`; raises SourceLost."""
        frame = self._newest.get(timeout_s)
        if frame is None and self._error is not None:
            raise self._error
        if frame is None and self._context.clock.now_ns() - self._heard_ns > self._silence_s * 1e9:
            raise SourceLost(f"{self._what} has sent no frame for {self._silence_s:g} s")
        return frame

    def close(self) -> None:
        """Stop reading; a call that hangs in the capture is left to its own timeout."""
        self._stop.set()
        self._newest.close()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            log.info("%s: a read of %s still hangs; it ends by itself", self._context.name, self._what)

    def _run(self) -> None:
        try:
            capture = self._connect()
            try:
                self._heard_ns = self._context.clock.now_ns()
                self._settled.set()
                self._grab(capture)
            finally:
                capture.release()
        except Exception as error:  # raised where frames are read
            self._error = error
        self._settled.set()
        self._newest.close()

    def _grab(self, capture: CaptureLike) -> None:
        clock, name = self._context.clock, self._context.name
        seq = 0
        while not self._stop.is_set():
            if not capture.grab():
                raise SourceLost(f"{self._what} has stopped sending")
            header = Header(name, seq, clock.now_ns(), clock.unix_ns())
            seq += 1
            self._heard_ns = header.captured_ns
            image = capture.image()
            if image is None:
                self._context.health.increment(name, "drop.undecodable")
            else:
                self._newest.put(Frame(header, image))
