"""Cameras, network streams and video files as frame sources."""

import logging
from pathlib import Path
from typing import Literal

import msgspec

from sources.opencv.capture import Capture, open_camera, open_file, open_stream, require_file
from sources.opencv.latest_frame_reader import LatestFrameReader
from sources.opencv.motion_jpeg import MotionJPEGCapture
from sources.playback import Playback
from stream.errors import ConfigError, EndOfStream, masked
from stream.messages import Frame
from stream.protocols import ComponentContext

log = logging.getLogger("poselift")

Pace = Literal["recorded", "full"]

OPEN_MARGIN_S = 1.0  # for steps of opening without a timeout in FFmpeg, such as the lookup of a host name


class OpenCV:
    """Frames of a camera or stream (the newest frame only), or of a video file (every frame).

    A live frame is stamped when it is grabbed. A file's frame gets the time of the first read plus its time
    in the file.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of a camera, video file or stream.

        url: A camera's number (0) or device (/dev/video0), a video file, or the URL of a stream (rtsp://, or
        http:// with MJPEG or other video).

        pace: Speed of a file: recorded, or full for as fast as frames are read.

        width: Image width in pixels to request from a camera, which may choose a similar one; null requests
        none.

        height: Image height in pixels to request from a camera; null requests none.

        fps: Frames per second to request from a camera; null requests none.

        fourcc: Pixel format to request from a camera, such as MJPG; null requests none.

        open_timeout_s: Seconds until a stream that does not open counts as unavailable.

        read_timeout_s: Seconds without a frame until a stream counts as lost.

        frozen_s: Seconds of the same picture, pixel by pixel, after which a camera or stream is opened again;
        null never does that.

        ffmpeg_options: Options of FFmpeg for streams, as key;value|key;value.
        """

        url: int | str = 0
        pace: Pace = "recorded"
        width: int | None = None
        height: int | None = None
        fps: float | None = None
        fourcc: str | None = None
        open_timeout_s: float = 5.0
        read_timeout_s: float = 5.0
        frozen_s: float | None = 20.0
        # nobuffer: skip the frames that FFmpeg read to detect the stream's format; they are seconds old.
        ffmpeg_options: str = "rtsp_transport;tcp|fflags;nobuffer"

        def __post_init__(self) -> None:
            for name in ("width", "height", "fps", "open_timeout_s", "read_timeout_s", "frozen_s"):
                value = getattr(self, name)
                if value is not None and value <= 0:
                    raise ConfigError(f"{name}: expected a number above 0, got {value}")
            if self.fourcc is not None and len(self.fourcc) != 4:
                raise ConfigError(f"fourcc: expected four letters such as MJPG, got {self.fourcc!r}")
            if self.url == "" or (isinstance(self.url, int) and self.url < 0):
                raise ConfigError(
                    f"url: expected a camera from 0, a device, a file or a URL, got {self.url!r}"
                )

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.settings = settings
        self._context = context
        url = settings.url
        self._is_camera = isinstance(url, int) or url.isdecimal() or Path(url).parent == Path("/dev")
        self._is_stream = not self._is_camera and "://" in str(url)
        self._is_file = not self._is_camera and not self._is_stream
        if self._is_file:
            require_file(Path(str(url)))  # at construction, so that `poselift check` reports it
        self.live = not self._is_file or settings.pace == "recorded"
        self._reader: LatestFrameReader | _FileReader | None = None

    def open(self) -> None:
        """Open the camera, stream or file. Raises SourceUnavailable, or ConfigError for a file."""
        settings, context = self.settings, self._context
        if self._is_file:
            self._reader = _FileReader(Path(str(settings.url)), settings.pace, context)
            return
        connect = self._open_stream if self._is_stream else self._open_camera
        name = masked(str(settings.url)) if self._is_stream else f"camera {settings.url}"
        reader = LatestFrameReader(connect, name, settings.read_timeout_s, context, settings.frozen_s)
        reader.open(settings.open_timeout_s + OPEN_MARGIN_S)
        self._reader = reader

    def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def read(self, timeout_s: float) -> Frame | None:
        """The newest frame of a camera or stream, or the next of a file. Raises SourceLost, EndOfStream."""
        assert self._reader is not None, "read() before open()"
        return self._reader.read(timeout_s)

    def _open_stream(self) -> Capture:
        settings = self.settings
        capture = open_stream(
            str(settings.url), settings.ffmpeg_options, settings.open_timeout_s, settings.read_timeout_s
        )
        return MotionJPEGCapture.of(capture) or capture

    def _open_camera(self) -> Capture:
        settings = self.settings
        camera = settings.url if str(settings.url).startswith("/dev/") else int(settings.url)
        capture = open_camera(camera, settings.fourcc, (settings.width, settings.height), settings.fps)
        log.info("%s: camera %s gives %d x %d pixels", self._context.name, camera, *capture.size_wh)
        return capture


class _FileReader:
    """Reads every frame of a video file in order, with the times of the file."""

    def __init__(self, path: Path, pace: Pace, context: ComponentContext) -> None:
        self._path = path
        self._capture = open_file(path)
        self._name = context.name
        self._at_recorded_pace = pace == "recorded"
        self._playback = Playback(context.clock, speed=1.0)
        self._seq = 0
        self._time_ns = -1  # in the file, of the last decoded frame
        self._next: tuple[int, Frame] | None = None

    def read(self, timeout_s: float) -> Frame | None:
        if self._next is None:
            self._next = self._decode()
        offset_ns, frame = self._next
        if self._at_recorded_pace and not self._playback.wait_until_due(offset_ns, timeout_s):
            return None
        self._next = None
        return frame

    def close(self) -> None:
        self._playback.stop()
        self._capture.release()

    def _decode(self) -> tuple[int, Frame]:
        """The next frame and its time after the start of the file."""
        if self._seq == 0:
            self._playback.start()
        image = self._capture.image() if self._capture.grab() else None
        if image is None and self._seq == 0:
            raise ConfigError(f"url: {self._path} has no readable frame; does a video player show it?")
        if image is None:
            self._warn_when_truncated()
            raise EndOfStream(f"{self._path}: all {self._seq} frames were read")
        time_ns = self._capture.time_ns
        if time_ns <= self._time_ns:  # the file holds no times
            time_ns = self._time_ns + round(1e9 / self._capture.fps)
        self._time_ns = time_ns
        frame = Frame(self._playback.header(self._name, self._seq, time_ns, 0), image)
        self._seq += 1
        return time_ns, frame

    def _warn_when_truncated(self) -> None:
        """Log a warning when the file ends before the duration in its header."""
        header_s = (self._capture.frames or 0) / self._capture.fps
        read_s = self._time_ns / 1e9 + 1 / self._capture.fps
        if read_s < min(
            0.95 * header_s, header_s - 0.5
        ):  # the duration of files without an index is estimated
            log.warning(
                "%s: %s is truncated: only %.1f s of %.1f s are readable",
                *(self._name, self._path, read_s, header_s),
            )
