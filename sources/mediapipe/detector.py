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

from sources.mediapipe import model_files as models
from stream.errors import ConfigError
from stream.messages import F32, Frame, KeypointFrame, Keypoints
from stream.protocols import ComponentContext

_LEAST_STEP_NS = 1_000_000  # MediaPipe refuses two frames of the same millisecond


class MediaPipe:
    """Detects persons with one landmarker of its own: use one instance per camera.

    The landmarker follows people from frame to frame and smooths them in time, so frames must be of
    one camera and in order.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """variant: lite, full or heavy; more is slower and more exact. path: a `.task` file to use instead
        of the fetched one. num_poses: most persons looked for; each one not there costs time every frame.

        Least scores (0..1) to find a person (min_detection), to believe that the landmarks are of
        one (min_presence), and to go on following instead of searching again (min_tracking).
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
        self._captured_ns = 0  # of the frame before
        self._time_ns = 0  # what MediaPipe was told

    def open(self) -> None:
        settings = self.settings
        path = _checked(Path(settings.path)) if settings.path else models.fetch(settings.variant)
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
            with _quiet():
                self._landmarker = vision.PoseLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigError(f"{path}: MediaPipe cannot use this model: {error}") from None

    def close(self) -> None:
        landmarker, self._landmarker = self._landmarker, None
        if landmarker is not None:
            landmarker.close()

    def detect(self, frame: Frame) -> KeypointFrame:
        """The persons in `frame` as "blazepose33", each landmark scored by its visibility."""
        return self.detect_in_space(frame)[0]

    def detect_in_space(self, frame: Frame) -> tuple[KeypointFrame, list[F32]]:
        """As `detect`, and what MediaPipe itself says of each person's 3D: (33, 3) metres around the hips.

        In camera axes: x right, y down, z forward.
        """
        from mediapipe import Image, ImageFormat

        image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(frame.image))
        result = self._landmarker.detect_for_video(image, self._timestamp_ms(frame.header.captured_ns))
        seen = KeypointFrame(
            header=frame.header,
            size_wh=frame.size_wh,
            skeleton="blazepose33",
            persons=tuple(_person(landmarks, frame.size_wh) for landmarks in result.pose_landmarks),
            detected_ns=self._context.clock.now_ns(),
        )
        world = [
            np.array([(mark.x, mark.y, mark.z) for mark in landmarks], np.float32)
            for landmarks in result.pose_world_landmarks
        ]
        return seen, world

    def _timestamp_ms(self, captured_ns: int) -> int:
        """Milliseconds that always increase, keeping the spacing of the frames where that allows it."""
        self._time_ns += (
            max(_LEAST_STEP_NS, captured_ns - self._captured_ns) if self._time_ns else _LEAST_STEP_NS
        )
        self._captured_ns = captured_ns
        return self._time_ns // 1_000_000


def _person(landmarks: Any, size_wh: tuple[int, int]) -> Keypoints:
    values = np.array([(mark.x, mark.y, mark.visibility) for mark in landmarks], np.float32)
    xy = values[:, :2] * np.array(size_wh, np.float32)
    return Keypoints(xy=xy, score=np.clip(values[:, 2], 0.0, 1.0))


def _checked(path: Path) -> Path:
    """`path` when it is a whole model file: a damaged one makes MediaPipe fail with riddles."""
    if not path.is_file():
        raise ConfigError(f"path: no such model file: {path}; leave it out to have one fetched")
    try:
        with zipfile.ZipFile(path) as bundle:
            damaged = bundle.testzip()
    except zipfile.BadZipFile as error:
        damaged = str(error)
    if damaged is not None:
        raise ConfigError(f"{path}: expected a whole .task model file, but it is damaged ({damaged})")
    return path


# What MediaPipe says on every start, whatever the settings; no setting turns it off.
_CHATTER = re.compile(
    rb"^(INFO: Created TensorFlow|WARNING: All log messages before absl|[IW]\d{4} ).*\n?", re.M
)
_hushing = threading.Lock()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep MediaPipe's chatter off the terminal; everything else written meanwhile comes after it."""
    with _hushing, tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        terminal = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            kept.seek(0)
            os.write(2, _CHATTER.sub(b"", kept.read()))
