"""Reads a camera or stream in a thread: `read` returns the newest frame and never waits for a dead camera."""

import logging
import threading
import zlib
from collections.abc import Callable
from typing import Protocol

from stream.errors import SourceLost, SourceUnavailable
from stream.messages import U8, Frame, Header
from stream.protocols import ComponentContext
from stream.queues import DropOldestQueue

log = logging.getLogger("poselift")

CLOSE_GRACE_S = 0.5  # how long `close` waits for a call of the capture that is still running
RETRY_S = 0.5  # how long after the last image a stream may give none; a damaged part is no end of the stream
RETRY_PAUSE_S = 0.02


class LiveCapture(Protocol):
    """A camera or stream; its calls may block."""

    def grab(self) -> bool:
        """Advance to the next frame; False when the capture has ended."""
        ...

    def image(self) -> U8 | None:
        """The grabbed frame (H, W, 3) uint8 RGB, or None when it cannot be decoded."""
        ...

    def release(self) -> None: ...


class LatestFrameReader:
    """Opens a capture and reads it in a thread of its own; frames that are not read in time are dropped.

    A frame is stamped when it is grabbed. name: of the camera or stream, for messages; timeout_s: seconds
    without a frame after which it counts as lost; frozen_s: seconds of the same picture after which it counts
    as lost, None for never.
    """

    def __init__(
        self,
        connect: Callable[[], LiveCapture],
        name: str,
        timeout_s: float,
        context: ComponentContext,
        frozen_s: float | None = None,
    ) -> None:
        self._connect = connect
        self._name = name
        self._timeout_s = timeout_s
        self._frozen_s = frozen_s
        self._context = context
        self._newest: DropOldestQueue[Frame] = DropOldestQueue(
            1, on_drop=lambda frame: context.health.increment(context.name, "drop.newest_wins")
        )
        self._open_or_failed = threading.Event()
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._last_grab_ns: int | None = None  # at first the time of opening
        self._thread = threading.Thread(target=self._run, name=f"grab:{context.name}", daemon=True)

    def open(self, timeout_s: float) -> None:
        """Wait until the capture is open. Raises errors of `connect`, SourceUnavailable after `timeout_s`."""
        self._thread.start()
        if not self._context.clock.wait(self._open_or_failed, timeout_s):
            self.close()
            raise SourceUnavailable(f"{self._name} did not open within {timeout_s:g} s")
        if self._error is not None and self._last_grab_ns is None:
            raise self._error

    def read(self, timeout_s: float) -> Frame | None:
        """The newest frame not read yet; None when none arrives within `timeout_s`. Raises SourceLost."""
        frame = self._newest.get(timeout_s)
        if frame is not None:
            return frame
        if self._error is not None:
            raise self._error
        assert self._last_grab_ns is not None, "read() before open()"
        if self._context.clock.now_ns() - self._last_grab_ns > self._timeout_s * 1e9:
            raise SourceLost(f"{self._name} has sent no frame for {self._timeout_s:g} s")
        return None

    def close(self) -> None:
        """Stop the thread. A call of the capture that blocks ends at its own timeout, after this returns."""
        self._stop.set()
        self._newest.close()
        if self._thread.is_alive():
            self._thread.join(CLOSE_GRACE_S)
        if self._thread.is_alive():
            log.info("%s: a read of %s is still running and ends by itself", self._context.name, self._name)

    def _run(self) -> None:
        try:
            capture = self._connect()
            try:
                self._last_grab_ns = self._context.clock.now_ns()
                self._open_or_failed.set()
                self._grab_frames(capture)
            finally:
                capture.release()
        except Exception as error:  # raised to the caller of `open` or `read`
            self._error = error
        self._open_or_failed.set()
        self._newest.close()

    def _grab_frames(self, capture: LiveCapture) -> None:
        clock, source = self._context.clock, self._context.name
        seq = 0
        picture: int | None = None
        changed_ns = grabbed_ns = clock.now_ns()  # when the picture was last another than before; of an image
        while not self._stop.is_set():
            if not capture.grab():
                if clock.now_ns() - grabbed_ns >= RETRY_S * 1e9:
                    raise SourceLost(f"{self._name} has stopped sending")
                self._context.health.increment(source, "drop.undecodable")
                clock.wait(self._stop, RETRY_PAUSE_S)
                continue
            header = Header(source, seq, clock.now_ns(), clock.unix_ns())
            seq += 1
            self._last_grab_ns = grabbed_ns = header.captured_ns
            image = capture.image()
            if image is None:
                self._context.health.increment(source, "drop.undecodable")
            else:
                if (checksum := _checksum(image)) != picture:
                    picture, changed_ns = checksum, header.captured_ns
                elif self._frozen_s and header.captured_ns - changed_ns > self._frozen_s * 1e9:
                    self._context.health.increment(source, "frozen")
                    raise SourceLost(
                        f"{self._name} has sent the same picture for {self._frozen_s:g} s; if nothing in it "
                        "can change, set frozen_s: null"
                    )
                self._newest.put(Frame(header, image))


def _checksum(image: U8) -> int:
    """Checksum of every fourth pixel of every fourth row; a sensor's noise changes it with every frame."""
    return zlib.crc32(image[::4, ::4].tobytes())
