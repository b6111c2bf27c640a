"""A frame source and a detector, together a source of keypoints."""

import contextlib
import dataclasses

from stream.messages import KeypointFrame
from stream.protocols import ComponentContext, Detector, FrameSource, opened


class DetectorSource:
    """Reads frames and detects the people in them, both in the thread that calls `read`."""

    def __init__(self, frame_source: FrameSource, detector: Detector, context: ComponentContext) -> None:
        self.live = frame_source.live
        self._frame_source = frame_source
        self._detector = detector
        self._context = context
        self._open_parts = contextlib.ExitStack()

    def open(self) -> None:
        with contextlib.ExitStack() as parts:
            # The camera first: a failed attempt to open it then costs no loading of the detector.
            parts.enter_context(opened(self._frame_source))
            parts.enter_context(opened(self._detector))
            self._open_parts = parts.pop_all()

    def close(self) -> None:
        self._open_parts.close()

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The keypoints of the next frame; records the time of detection in health as "inference".

        A live frame also gets `capture_ms`: the time between its capture and the start of detection.
        """
        frame = self._frame_source.read(timeout_s)
        if frame is None:
            return None
        clock = self._context.clock
        start_ns = clock.now_ns()
        self._context.snapshots.offer(frame, start_ns)
        keypoints = self._detector.detect(frame)
        self._context.health.observe_ms("inference", (clock.now_ns() - start_ns) / 1e6)
        if not self.live:  # a file's frames carry the times of the file, from which no delay follows
            return keypoints
        capture_ms = max(0.0, (start_ns - frame.header.captured_ns) / 1e6)
        return dataclasses.replace(keypoints, capture_ms=capture_ms)
