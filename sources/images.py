"""A folder of images as a source of frames, one after the other."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from sources.playback import Playback
from stream.cameras.opencv import load_cv2
from stream.errors import ConfigError, EndOfStream
from stream.messages import Frame
from stream.protocols import ComponentContext

log = logging.getLogger("poselift")

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class Images:
    """The images of a folder, image2 before image10, upright as their EXIF says.

    An image that cannot be read is named in the log, counted and left out: its seq and its time
    stay empty, as when a camera misses a frame.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """path: the folder. fps: images per second when they were taken. pace: that fast, or "full" speed."""

        path: str
        fps: float = 25.0
        pace: Literal["recorded", "full"] = "recorded"

        def __post_init__(self) -> None:
            if self.fps <= 0:
                raise ConfigError(f"fps: expected images per second above 0, got {self.fps}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.settings = settings
        self.live = settings.pace == "recorded"
        self._context = context
        self._playback = Playback(context.clock, speed=1.0)
        self._cv2: Any = None
        self._frames: Iterator[tuple[int, Frame]] = iter(())
        self._next: tuple[int, Frame] | None = None

    def open(self) -> None:
        paths = _sorted(Path(self.settings.path))
        self._cv2 = load_cv2()
        self._frames, self._next = self._decode(paths), None

    def close(self) -> None:
        self._playback.stop()

    def read(self, timeout_s: float) -> Frame | None:
        if self._next is None:
            self._next = next(self._frames, None)
        if self._next is None:
            raise EndOfStream(f"all images in {self.settings.path} are read")
        offset_ns, frame = self._next
        if self.settings.pace == "recorded" and not self._playback.due(offset_ns, timeout_s):
            return None
        self._next = None
        return frame

    def _decode(self, paths: list[Path]) -> Iterator[tuple[int, Frame]]:
        """Each frame with its time after the first image's."""
        self._playback.start()
        decoded = 0
        for seq, path in enumerate(paths):
            offset_ns = round(seq * 1e9 / self.settings.fps)
            try:
                image = self._cv2.imread(str(path), self._cv2.IMREAD_COLOR_RGB)
            except self._cv2.error:
                image = None
            if image is None:
                log.warning("%s: %s is left out: not an image that can be read", self._context.name, path)
                self._context.health.increment(self._context.name, "drop.unreadable")
                continue
            decoded += 1
            yield offset_ns, Frame(self._playback.header(self._context.name, seq, offset_ns, 0), image)
        if decoded == 0:
            raise ConfigError(f"path: none of the {len(paths)} images in {self.settings.path} can be read")


def _sorted(folder: Path) -> list[Path]:
    """The images in `folder` as a person would order them."""
    if not folder.is_dir():
        raise ConfigError(f"path: expected a folder of images, got {folder.absolute()}, which is none")
    images = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    if not images:
        raise ConfigError(f"path: {folder.absolute()} holds no image ({', '.join(SUFFIXES)})")
    return sorted(
        images,
        key=lambda path: [
            int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name.lower())
        ],
    )
