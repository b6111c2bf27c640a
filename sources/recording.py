"""Playback of recorded keypoints, or of the keypoints of recorded poses."""

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
from stream.files.recorded_poses import holds_poses, read_keypoints
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext


class Recording:
    """Plays recorded keypoints: a `.jsonl` or `.npz` of poselift, or an array of another tool.

    Recorded poses (.jsonl, .npz, .mcap) are lifted again from their keypoints, which they have when they were
    recorded with `lifter.kp2d: true`. The layouts are those of `stream.files`. Frames
    keep the source names in the file; a frame without one gets this source's name.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of a recording of keypoints.

        path: The file (.jsonl, .npz, .npy, or .mcap with poses); null plays the packaged recording of a walk.

        speed: Speed of playing: 1.0 as recorded, 2.0 twice as fast, or full for as fast as frames are read.

        loop: Start again at the end of the file.

        skeleton: Name of the joint layout of a plain array of keypoints, such as coco17.

        fps: Frames per second of a plain array of keypoints.

        size_wh: Width and height in pixels of the images, for files that do not have them: plain arrays, and
        recorded poses without a `meta`.
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
            raise ConfigError(
                f"{context.name}: expected a keypoint file at {self._path}, which does not exist"
            )
        self._assumed = keypoint_files.RecordingDefaults(
            settings.skeleton, settings.fps, settings.size_wh, context.name
        )
        self._loop = settings.loop
        self._playback = Playback(context.clock, None if settings.speed == "full" else settings.speed)
        self._frames: Iterator[KeypointFrame] = iter(())
        self._next: KeypointFrame | None = None

    def open(self) -> None:
        self._frames = self._looped_frames() if self._loop else self._recorded_frames()
        self._next = next(self._frames, None)
        if self._next is None:
            raise ConfigError(f"{self._path}: expected at least one frame, got an empty file")
        self._playback.start()

    def close(self) -> None:
        self._playback.stop()
        self._frames, self._next = iter(()), None

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The next frame; a slow reader gets every frame, late. Raises ConfigError at an invalid frame."""
        frame = self._next = self._next or next(self._frames, None)
        if frame is None:
            raise EndOfStream(f"{self._path}: all frames were read")
        recorded = frame.header
        if not self._playback.wait_until_due(recorded.captured_ns, timeout_s):
            return None
        self._next = None
        header = self._playback.header(
            recorded.source, recorded.seq, recorded.captured_ns, recorded.captured_unix_ns
        )
        return replace(frame, header=header, detected_ns=self._playback.detected_ns(header))

    def _recorded_frames(self) -> Iterator[KeypointFrame]:
        if holds_poses(self._path):
            return read_keypoints(self._path, self._assumed.size_wh)
        return keypoint_files.read(self._path, self._assumed)

    def _looped_frames(self) -> Iterator[KeypointFrame]:
        """The frames of the file without end; rounds are one mean frame interval apart."""
        seq = round_ns = 0
        while True:
            last_ns = count = 0
            for frame in self._recorded_frames():
                recorded = frame.header
                last_ns, count = max(last_ns, recorded.captured_ns), count + 1
                header = replace(
                    recorded,
                    seq=seq,
                    captured_ns=round_ns + recorded.captured_ns,
                    captured_unix_ns=round_ns + recorded.captured_unix_ns,
                )
                yield replace(frame, header=header)
                seq += 1
            if count == 0:
                return
            # A file of one frame has no interval; show it once a second.
            round_ns += last_ns + (round(last_ns / (count - 1)) if count > 1 else 1_000_000_000)
