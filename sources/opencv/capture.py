"""What is asked of OpenCV: opening cameras, streams and files, and their frames as RGB."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream.cameras.opencv import load_cv2
from stream.errors import ConfigError, SourceUnavailable, masked
from stream.messages import U8


class Capture:
    """An open `cv2.VideoCapture`; to be used by one thread at a time."""

    def __init__(self, cv2: Any, capture: Any) -> None:
        self._cv2 = cv2
        self._capture = capture

    def grab(self) -> bool:
        """Advance to the next frame; False when there is none any more."""
        return bool(self._capture.grab())

    def image(self) -> U8 | None:
        """The grabbed frame (H, W, 3) uint8 RGB, upright; None when it cannot be decoded."""
        decoded, bgr = self._capture.retrieve()
        return self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB) if decoded else None

    @property
    def time_ns(self) -> int:
        """Time of the grabbed frame after the start of its file, as the container says."""
        return round(self._capture.get(self._cv2.CAP_PROP_POS_MSEC) * 1e6)

    @property
    def size_wh(self) -> tuple[int, int]:
        width, height = (self._cv2.CAP_PROP_FRAME_WIDTH, self._cv2.CAP_PROP_FRAME_HEIGHT)
        return round(self._capture.get(width)), round(self._capture.get(height))

    @property
    def fps(self) -> float:
        """Frames per second of a file, 25 where it does not say."""
        fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        return fps if 1 <= fps <= 1000 else 25.0

    @property
    def frames(self) -> int | None:
        """How many frames the file says it has; None when it does not."""
        frames = round(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        return frames if frames > 0 else None

    def release(self) -> None:
        self._capture.release()


def expect_file(path: Path) -> None:
    """Raise ConfigError unless there is a file at `path`."""
    if not path.exists():
        raise ConfigError(f"url: no such video file: {path.absolute()}")
    if path.is_dir():
        raise ConfigError(f"url: expected a video file, got the folder {path}; type: images reads folders")


def open_file(path: Path) -> Capture:
    """Open a video file; raises ConfigError when it is none."""
    expect_file(path)
    cv2 = load_cv2()
    with _ffmpeg_options(None):
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ConfigError(
            f"url: {path} is not a video that can be read, or it is cut off; does a player show it?"
        )
    return Capture(cv2, capture)


def open_stream(url: str, options: str, open_timeout_s: float, read_timeout_s: float) -> Capture:
    """Open a stream from the network; raises SourceUnavailable."""
    cv2 = load_cv2()
    with _ffmpeg_options(options):
        params = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(open_timeout_s * 1e3)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(read_timeout_s * 1e3)),
            *(cv2.CAP_PROP_N_THREADS, 1),  # each further thread holds back one more frame
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
    """Open a camera by number or device and ask it for a format; raises SourceUnavailable."""
    cv2 = load_cv2()
    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        here = ", ".join(str(device) for device in sorted(Path("/dev").glob("video*"))) or "no cameras"
        raise SourceUnavailable(
            f"camera {camera} could not be opened (here: {here}); check that it is plugged in, that no other "
            "program uses it, and that you may read it (on Linux: group video)"
        )
    if fourcc:  # first: it decides which sizes there are
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
    for asked, wish in (("FRAME_WIDTH", size_wh[0]), ("FRAME_HEIGHT", size_wh[1]), ("FPS", fps)):
        if wish is not None:
            capture.set(getattr(cv2, f"CAP_PROP_{asked}"), wish)
    return Capture(cv2, capture)


class _Shared:
    """FFmpeg's options, which OpenCV takes from the environment only, set while captures are opened.

    Captures with the same options open side by side, so that one dead camera does not hold up the
    others; a capture with other options waits, and nobody overtakes it.
    """

    def __init__(self, variable: str) -> None:
        self._variable = variable
        self._door = threading.Lock()
        self._left = threading.Condition()
        self._inside = 0
        self._options: str | None = None
        self._before: str | None = None

    @contextlib.contextmanager
    def set(self, options: str | None) -> Iterator[None]:
        with self._door, self._left:
            self._left.wait_for(lambda: self._inside == 0 or self._options == options)
            if self._inside == 0:
                self._before = os.environ.get(self._variable)
                self._write(options)
            self._inside += 1
            self._options = options
        try:
            yield
        finally:
            with self._left:
                self._inside -= 1
                if self._inside == 0:
                    self._write(self._before)
                    self._left.notify_all()

    def _write(self, options: str | None) -> None:
        if options is None:
            os.environ.pop(self._variable, None)
        else:
            os.environ[self._variable] = options


_ffmpeg_options = _Shared("OPENCV_FFMPEG_CAPTURE_OPTIONS").set
