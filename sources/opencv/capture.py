"""Cameras, streams and video files opened by OpenCV; their frames as RGB images."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream.cameras.opencv import load_cv2
from stream.errors import ConfigError, SourceUnavailable, masked
from stream.messages import U8

DEFAULT_FPS = 25.0  # of files whose container holds no plausible frame rate


class Capture:
    """An open `cv2.VideoCapture`; for one thread at a time.

    cv2: the module; capture: of it.
    """

    def __init__(self, cv2: Any, capture: Any) -> None:
        self.cv2 = cv2
        self.capture = capture

    def grab(self) -> bool:
        """Advance to the next frame; False at the end."""
        return bool(self.capture.grab())

    def image(self) -> U8 | None:
        """The grabbed frame (H, W, 3) uint8 RGB, upright; None when it cannot be decoded."""
        decoded, bgr = self.capture.retrieve()
        if not decoded:
            return None
        rgb: U8 = self.cv2.cvtColor(bgr, self.cv2.COLOR_BGR2RGB)
        return rgb

    @property
    def time_ns(self) -> int:
        """Time of the grabbed frame after the start of its file, according to the container."""
        return round(float(self.capture.get(self.cv2.CAP_PROP_POS_MSEC)) * 1e6)

    @property
    def size_wh(self) -> tuple[int, int]:
        width, height = (self.cv2.CAP_PROP_FRAME_WIDTH, self.cv2.CAP_PROP_FRAME_HEIGHT)
        return round(self.capture.get(width)), round(self.capture.get(height))

    @property
    def fps(self) -> float:
        """Frames per second of a file, 25 when the container holds none."""
        fps = float(self.capture.get(self.cv2.CAP_PROP_FPS))
        return fps if 1 <= fps <= 1000 else DEFAULT_FPS

    @property
    def frames(self) -> int | None:
        """Number of frames of a file, which may be an estimate; None when the container holds none."""
        frames = round(self.capture.get(self.cv2.CAP_PROP_FRAME_COUNT))
        return frames if frames > 0 else None

    def release(self) -> None:
        self.capture.release()


def require_file(path: Path) -> None:
    """Raise ConfigError unless `path` is a file."""
    if not path.exists():
        raise ConfigError(f"url: no such video file: {path.absolute()}")
    if path.is_dir():
        raise ConfigError(f"url: expected a video file, got the folder {path}; type: images reads folders")


def open_file(path: Path) -> Capture:
    """Open a video file. Raises ConfigError when it is not a readable video."""
    require_file(path)
    cv2 = load_cv2()
    with _FFMPEG_OPTIONS.set(None):
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ConfigError(
            f"url: {path} is not a readable video, or its end is missing; does a video player show it?"
        )
    return Capture(cv2, capture)


def open_stream(url: str, options: str, open_timeout_s: float, read_timeout_s: float) -> Capture:
    """Open a network stream with FFmpeg's `options` (key;value|key;value). Raises SourceUnavailable."""
    cv2 = load_cv2()
    with _FFMPEG_OPTIONS.set(options):
        params = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(open_timeout_s * 1e3)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(read_timeout_s * 1e3)),
            *(cv2.CAP_PROP_N_THREADS, 1),  # each further thread delays by one more frame
        ]
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, params)
    if not capture.isOpened():
        raise SourceUnavailable(
            f"{masked(url)} could not be opened; check that it is on, "
            "its address, port and path, and user and password (rtsp://user:password@host/path)"
        )
    return Capture(cv2, capture)


def open_camera(
    camera: int | str, fourcc: str | None, size_wh: tuple[int | None, int | None], fps: float | None
) -> Capture:
    """Open a camera by number or device and request a format. Raises SourceUnavailable.

    The camera may choose another size or rate; None requests nothing.
    """
    cv2 = load_cv2()
    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        cameras = ", ".join(str(device) for device in sorted(Path("/dev").glob("video*"))) or "none"
        raise SourceUnavailable(
            f"camera {camera} could not be opened (cameras of this machine: {cameras}); check that it is "
            "plugged in, that no other program uses it, and that you may read it (on Linux: group video)"
        )
    if fourcc:  # before the size: a camera offers other sizes with another format
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
    for name, value in (("FRAME_WIDTH", size_wh[0]), ("FRAME_HEIGHT", size_wh[1]), ("FPS", fps)):
        if value is not None:
            capture.set(getattr(cv2, f"CAP_PROP_{name}"), value)
    return Capture(cv2, capture)


class SharedEnvironmentVariable:
    """Sets an environment variable while threads need a value, and restores it afterwards.

    OpenCV reads FFmpeg's options from the environment only, when it opens a capture. Threads that need equal
    values run at the same time, so that one dead camera does not delay the others. A thread that needs
    another value waits for them, and threads that come later wait behind it.
    """

    def __init__(self, variable: str) -> None:
        self._variable = variable
        self._entry = threading.Lock()  # held by a thread that waits to change the value
        self._changed = threading.Condition()
        self._users = 0
        self._value: str | None = None
        self._original: str | None = None

    @contextlib.contextmanager
    def set(self, value: str | None) -> Iterator[None]:
        """Run the body with the variable at `value`; None: with the variable unset."""
        with self._entry, self._changed:
            self._changed.wait_for(lambda: self._users == 0 or self._value == value)
            if self._users == 0:
                self._original = os.environ.get(self._variable)
                self._write(value)
            self._users += 1
            self._value = value
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                if self._users == 0:
                    self._write(self._original)
                    self._changed.notify_all()

    def _write(self, value: str | None) -> None:
        if value is None:
            os.environ.pop(self._variable, None)
        else:
            os.environ[self._variable] = value


_FFMPEG_OPTIONS = SharedEnvironmentVariable("OPENCV_FFMPEG_CAPTURE_OPTIONS")
