"""Cameras, network streams and video files, read by OpenCV."""

import logging
from pathlib import Path
from typing import Literal

import msgspec

from sources.opencv.capture import Capture, expect_file, open_camera, open_file, open_stream
from sources.opencv.grabber import LatestFrameReader
from sources.playback import Playback
from stream.errors import ConfigError, EndOfStream, masked
from stream.messages import Frame
from stream.protocols import ComponentContext

log = logging.getLogger("poselift")

Pace = Literal["recorded", "full"]

_SPARE_S = 1.0  # for what FFmpeg's own timeouts do not cover, such as looking up a host's name


class OpenCV:
    """Frames of a camera or a stream (the newest frame wins) or of a video file (every frame counts).

    A live frame is stamped when it is grabbed; a file's with the time of its first reading plus the
    frame's time in the file.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """url: a camera's number (0) or device (/dev/video0), a video file, or the URL of a stream (rtsp://,
        or http:// with MJPEG or other video). pace: files as fast as "recorded", or at "full" speed.

        width, height, fps, fourcc (such as MJPG): asked of cameras, which may give something near;
        null leaves them alone. open_timeout_s, read_timeout_s: seconds until a stream counts as
        unavailable, or lost. ffmpeg_options: for streams, key;value|key;value.
        """

        url: int | str = 0
        pace: Pace = "recorded"
        width: int | None = None
        height: int | None = None
        fps: float | None = None
        fourcc: str | None = None
        open_timeout_s: float = 5.0
        read_timeout_s: float = 5.0
        # nobuffer: skip the seconds that were read to find out what the stream holds; they are old.
        ffmpeg_options: str = "rtsp_transport;tcp|fflags;nobuffer"

        def __post_init__(self) -> None:
            for name in ("width", "height", "fps", "open_timeout_s", "read_timeout_s"):
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
        self._camera = isinstance(url, int) or url.isdecimal() or Path(url).parent == Path("/dev")
        self._stream = not self._camera and "://" in str(url)
        self._file = not self._camera and not self._stream
        if self._file:
            expect_file(Path(str(url)))  # already `poselift check` says so
        self.live = not self._file or settings.pace == "recorded"
        self._reader: LatestFrameReader | _File | None = None

    def open(self) -> None:
        settings, context = self.settings, self._context
        if self._file:
            self._reader = _File(Path(str(settings.url)), settings.pace, context)
            return
        connect = self._open_stream if self._stream else self._open_camera
        what = masked(str(settings.url)) if self._stream else f"camera {settings.url}"
        grabber = LatestFrameReader(connect, what, settings.read_timeout_s, context)
        grabber.open(settings.open_timeout_s + _SPARE_S)
        self._reader = grabber

    def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def read(self, timeout_s: float) -> Frame | None:
        assert self._reader is not None, "read() before `with`"
        return self._reader.read(timeout_s)

    def _open_stream(self) -> Capture:
        settings = self.settings
        return open_stream(
            str(settings.url), settings.ffmpeg_options, settings.open_timeout_s, settings.read_timeout_s
        )

    def _open_camera(self) -> Capture:
        settings = self.settings
        camera = settings.url if str(settings.url).startswith("/dev/") else int(settings.url)
        capture = open_camera(camera, settings.fourcc, (settings.width, settings.height), settings.fps)
        log.info("%s: camera %s gives %d x %d pixels", self._context.name, camera, *capture.size_wh)
        return capture


class _File:
    """Every frame of a video file, in order, at the file's own times."""

    def __init__(self, path: Path, pace: Pace, context: ComponentContext) -> None:
        self._path = path
        self._capture = open_file(path)
        self._name = context.name
        self._paced = pace == "recorded"
        self._playback = Playback(context.clock, speed=1.0)
        self._seq = 0
        self._time_ns = -1  # of the newest frame decoded
        self._next: tuple[int, Frame] | None = None

    def read(self, timeout_s: float) -> Frame | None:
        if self._next is None:
            self._next = self._decode()
        offset_ns, frame = self._next
        if self._paced and not self._playback.due(offset_ns, timeout_s):
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
            raise ConfigError(f"url: {self._path} has no frame that can be decoded; does a player show it?")
        if image is None:
            self._warn_when_cut_off()
            raise EndOfStream(f"{self._path} has ended after {self._seq} frames")
        time_ns = self._capture.time_ns
        if time_ns <= self._time_ns:  # files that carry no times
            time_ns = self._time_ns + round(1e9 / self._capture.fps)
        self._time_ns = time_ns
        frame = Frame(self._playback.header(self._name, self._seq, time_ns, 0), image)
        self._seq += 1
        return time_ns, frame

    def _warn_when_cut_off(self) -> None:
        """Say so when the file has promised more than could be read."""
        promised_s = (self._capture.frames or 0) / self._capture.fps
        read_s = self._time_ns / 1e9 + 1 / self._capture.fps
        if read_s < min(0.95 * promised_s, promised_s - 0.5):  # files without an index only estimate
            log.warning(
                "%s: %s breaks off: %.1f s of %.1f s can be read", self._name, self._path, read_s, promised_s
            )
