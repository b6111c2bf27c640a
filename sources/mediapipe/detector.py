"""MediaPipe's pose landmarker as a detector: 33 landmarks per person, in pixels."""

import contextlib
import os
import re
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from sources.mediapipe import model_files
from stream.errors import ConfigError
from stream.messages import F32, Frame, KeypointFrame, Keypoints
from stream.protocols import ComponentContext

MIN_STEP_NS = 1_000_000  # MediaPipe rejects two frames with the same millisecond


class MediaPipe:
    """Detects 33 landmarks per person with MediaPipe's pose landmarker.

    The landmarker tracks people from frame to frame and smooths their landmarks over time. So every camera
    needs a detector of its own, and its frames must come in order.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of MediaPipe's pose detector.

        variant: The model: lite, full or heavy, from the fastest to the most accurate.

        path: A `.task` file to use in place of the downloaded model.

        num_poses: Maximum number of persons. Each person above the number in view costs time in every frame.

        min_detection: Minimum score, 0 to 1, to detect a person.

        min_presence: Minimum score, 0 to 1, to accept the landmarks of a person.

        min_tracking: Minimum score, 0 to 1, to continue tracking in place of detecting again.
        """

        variant: Literal["lite", "full", "heavy"] = "full"
        path: str | None = None
        num_poses: int = 1
        min_detection: float = 0.5
        min_presence: float = 0.5
        min_tracking: float = 0.5

        def __post_init__(self) -> None:
            if self.num_poses < 1:
                raise ConfigError(f"num_poses: expected a number of persons from 1, got {self.num_poses}")
            for name in ("min_detection", "min_presence", "min_tracking"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ConfigError(f"{name}: expected a score in 0..1, got {getattr(self, name)}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.settings = settings
        self._context = context
        self._landmarker: Any = None
        self._timestamps = IncreasingTimestamps()

    def open(self) -> None:
        """Load the model, which is fetched first when it is not in the cache.

        Raises ConfigError without mediapipe or for an invalid model file, SourceUnavailable when the model
        cannot be fetched.
        """
        settings = self.settings
        path = _checked(Path(settings.path)) if settings.path else model_files.fetch(settings.variant)
        try:
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise ConfigError(
                f"the detector needs the package mediapipe ({error}); pip install 'poselift[camera]'"
            ) from None
        options = vision.PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(path)),
            running_mode=vision.RunningMode.VIDEO,
            num_poses=settings.num_poses,
            min_pose_detection_confidence=settings.min_detection,
            min_pose_presence_confidence=settings.min_presence,
            min_tracking_confidence=settings.min_tracking,
        )
        try:
            with startup_messages_hidden():
                self._landmarker = vision.PoseLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigError(f"{path}: MediaPipe cannot use this model: {error}") from None
        self._timestamps = IncreasingTimestamps()

    def close(self) -> None:
        landmarker, self._landmarker = self._landmarker, None
        if landmarker is not None:
            landmarker.close()

    def detect(self, frame: Frame) -> KeypointFrame:
        """The people in `frame` as "blazepose33"; the score of a landmark is its visibility."""
        return self.detect_with_3d(frame)[0]

    def detect_with_3d(self, frame: Frame) -> tuple[KeypointFrame, list[F32]]:
        """The people in `frame`, and MediaPipe's own 3D estimate of each: (33, 3) metres around the hips.

        In camera axes: x right, y down, z forward.
        """
        from mediapipe import Image, ImageFormat

        image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(frame.image))
        timestamp_ms = self._timestamps.next_ms(frame.header.captured_ns)
        result = self._landmarker.detect_for_video(image, timestamp_ms)
        keypoints = KeypointFrame(
            header=frame.header,
            size_wh=frame.size_wh,
            skeleton="blazepose33",
            persons=tuple(_person(landmarks, frame.size_wh) for landmarks in result.pose_landmarks),
            detected_ns=self._context.clock.now_ns(),
        )
        poses = [
            np.array([(mark.x, mark.y, mark.z) for mark in landmarks], np.float32)
            for landmarks in result.pose_world_landmarks
        ]
        return keypoints, poses


class IncreasingTimestamps:
    """Timestamps in ms that always increase, with the spacing of the frames where that increases too."""

    def __init__(self) -> None:
        self._captured_ns = 0  # of the frame before
        self._time_ns = 0

    def next_ms(self, captured_ns: int) -> int:
        """Timestamp of a frame captured at `captured_ns`."""
        step_ns = captured_ns - self._captured_ns if self._time_ns else 0
        self._time_ns += max(MIN_STEP_NS, step_ns)
        self._captured_ns = captured_ns
        return self._time_ns // 1_000_000


def _person(landmarks: Any, size_wh: tuple[int, int]) -> Keypoints:
    values = np.array([(mark.x, mark.y, mark.visibility) for mark in landmarks], np.float32)
    xy = values[:, :2] * np.array(size_wh, np.float32)
    return Keypoints(xy=xy, score=np.clip(values[:, 2], 0.0, 1.0))


def _checked(path: Path) -> Path:
    """`path`, when it is an intact zip. MediaPipe's own error for a damaged file does not name the cause."""
    if not path.is_file():
        raise ConfigError(f"path: no such model file: {path}; without `path` the model is fetched")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        damaged = str(error)
    if damaged is not None:
        raise ConfigError(f"{path}: expected a whole .task model file, but it is damaged ({damaged})")
    return path


# MediaPipe prints these at every start, and no setting turns them off.
_STARTUP_MESSAGES = re.compile(
    rb"^(INFO: Created TensorFlow|WARNING: All log messages before absl|[IW]\d{4} ).*\n?", re.M
)
_stderr_lock = threading.Lock()


@contextlib.contextmanager
def startup_messages_hidden() -> Iterator[None]:
    """Keep MediaPipe's startup messages off stderr; all other output of the body is written after it."""
    with _stderr_lock, tempfile.TemporaryFile() as captured:
        sys.stderr.flush()
        terminal = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            captured.seek(0)
            os.write(2, _STARTUP_MESSAGES.sub(b"", captured.read()))
