"""The newest image of each camera, for components that request it; no message carries images."""

import threading

from stream.messages import Frame

REQUEST_NS = 2_000_000_000  # a request holds for this long


class Snapshots:
    """Keeps the newest frame of every camera whose frames were requested in the last 2 s.

    A frame is kept without a copy, so a request costs the thread of the camera nothing. Readers must not
    change its image. All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requested_ns: dict[str, int] = {}
        self._frames: dict[str, Frame] = {}

    def offer(self, frame: Frame, now_ns: int) -> None:
        """Keep a camera's frame if it is requested; now_ns: monotonic."""
        camera = frame.header.source
        if camera not in self._requested_ns:  # the usual case, without the lock
            return
        with self._lock:
            if now_ns - self._requested_ns.get(camera, now_ns - REQUEST_NS) < REQUEST_NS:
                self._frames[camera] = frame
            else:
                self._requested_ns.pop(camera, None)
                self._frames.pop(camera, None)

    def latest(self, camera: str, now_ns: int) -> Frame | None:
        """The newest kept frame of a camera, None without one; requests that the next frames are kept."""
        with self._lock:
            self._requested_ns[camera] = now_ns
            return self._frames.get(camera)

    def forget(self, camera: str) -> None:
        """End the request for a camera and drop its frame."""
        with self._lock:
            self._requested_ns.pop(camera, None)
            self._frames.pop(camera, None)
