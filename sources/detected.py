"""Images and a detector, together a source of keypoints."""

import contextlib
import dataclasses

from stream.messages import KeypointFrame
from stream.protocols import ComponentContext, Detector, FrameSource, opened


class Detected:
    """Reads a frame and finds the persons in it, both in the reader's thread."""

    def __init__(self, frame_source: FrameSource, detector: Detector, context: ComponentContext) -> None:
        self.live = frame_source.live
        self._frame_source = frame_source
        self._detector = detector
        self._context = context
        self._opened = contextlib.ExitStack()

    def open(self) -> None:
        with contextlib.ExitStack() as opening:
            # The camera first: while it is away, its retries need not load a detector each time.
            opening.enter_context(opened(self._frame_source))
            opening.enter_context(opened(self._detector))
            self._opened = opening.pop_all()

    def close(self) -> None:
        self._opened.close()

    def read(self, timeout_s: float) -> KeypointFrame | None:
        frame = self._frame_source.read(timeout_s)
        if frame is None:
            return None
        clock = self._context.clock
        before_ns = clock.now_ns()
        found = self._detector.detect(frame)
        self._context.health.observe_ms("inference", (clock.now_ns() - before_ns) / 1e6)
        waited_ms = (before_ns - frame.header.captured_ns) / 1e6
        # A file's frames have the file's times, which say nothing about waiting.
        return dataclasses.replace(found, capture_ms=max(0.0, waited_ms)) if self.live else found
