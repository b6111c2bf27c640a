"""Keypoints from a file, played again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec

from sources.playback import Playback
from stream import skeletons
from stream.errors import ConfigError, EndOfStream
from stream.files import keypoints as keypoint_files
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext


class Recording:
    """A recorded `.jsonl` or `.npz`, or a plain array of another tool; layouts in `stream.keypoint_files`.

    Frames keep the source name that the file gives them; those without one get this source's.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """path: of the file (null = the packaged walk); loop: begin again at its end.

        speed: 1.0 as recorded, 2.0 twice as fast, or "full" as fast as frames are read.
        skeleton, fps, size_wh: of a plain array, which does not say so itself.
        """

        path: str | None = None
        speed: float | Literal["full"] = 1.0
        loop: bool = False
        skeleton: str | None = None
        fps: float | None = None
        size_wh: tuple[int, int] | None = None

        def __post_init__(self) -> None:
            if self.speed != "full" and self.speed <= 0:
                raise ConfigError(f"recording speed: expected a number above 0, or full, got {self.speed}")
            if self.fps is not None and self.fps <= 0:
                raise ConfigError(f"recording fps: expected a number above 0, got {self.fps}")
            if self.size_wh is not None and min(self.size_wh) < 1:
                raise ConfigError(
                    f"recording size_wh: expected a positive width and height, got {self.size_wh}"
                )
            if self.skeleton is not None:
                skeletons.skeleton_named(self.skeleton)

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.live = settings.speed != "full"
        self._path = PACKAGED_RECORDING if settings.path is None else Path(settings.path).expanduser()
        if not self._path.is_file():
            raise ConfigError(f"{context.name}: expected a file of keypoints at {self._path}; there is none")
        self._assumed = keypoint_files.Assumed(
            settings.skeleton, settings.fps, settings.size_wh, context.name
        )
        self._loop = settings.loop
        self._playback = Playback(context.clock, None if settings.speed == "full" else settings.speed)
        self._frames: Iterator[KeypointFrame] = iter(())
        self._next: KeypointFrame | None = None

    def open(self) -> None:
        self._frames = self._endless() if self._loop else keypoint_files.read(self._path, self._assumed)
        self._next = next(self._frames, None)
        if self._next is None:
            raise ConfigError(f"{self._path}: expected at least one frame, got an empty file")
        self._playback.start()

    def close(self) -> None:
        self._playback.stop()
        self._frames, self._next = iter(()), None

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The next frame; none is left out when reading falls behind."""
        frame = self._next = self._next or next(self._frames, None)
        if frame is None:
            raise EndOfStream(f"{self._path}: all frames were read")
        made = frame.header
        if not self._playback.due(made.captured_ns, timeout_s):
            return None
        self._next = None
        header = self._playback.header(made.source, made.seq, made.captured_ns, made.captured_unix_ns)
        return replace(frame, header=header, detected_ns=self._playback.known_ns(header))

    def _endless(self) -> Iterator[KeypointFrame]:
        """The file over and over; a round starts one mean frame interval after the last one's end."""
        seq = round_ns = 0
        while True:
            last_ns = count = 0
            for frame in keypoint_files.read(self._path, self._assumed):
                made = frame.header
                last_ns, count = max(last_ns, made.captured_ns), count + 1
                header = replace(
                    made,
                    seq=seq,
                    captured_ns=round_ns + made.captured_ns,
                    captured_unix_ns=round_ns + made.captured_unix_ns,
                )
                yield replace(frame, header=header)
                seq += 1
            if count == 0:
                return
            # A single frame is shown once a second.
            round_ns += last_ns + (round(last_ns / (count - 1)) if count > 1 else 1_000_000_000)
