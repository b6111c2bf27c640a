"""Import of OpenCV at the moment it is needed, so that the rest works without it."""

import importlib
import os
from typing import Any

from stream.errors import ConfigError


def load_cv2() -> Any:
    """The module cv2 with its own messages off: they may show passwords in URLs.

    Raises ConfigError when OpenCV is not installed.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first video is opened
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise ConfigError(
            f"images need the package opencv-python-headless ({error}); pip install 'poselift[camera]'"
        ) from None
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
