"""Import of OpenCV at the moment it is needed, so that the rest works without it."""

import importlib
import os
from typing import Any

from stream.errors import ConfigError

MAX_IMAGE_PIXELS = 1 << 27  # of an image file: some kilobytes can claim, and unpack to, gigabytes


def load_cv2() -> Any:
    """The module cv2 with its own messages off: they may show passwords in URLs.

    Raises ConfigError when OpenCV is not installed.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first video is opened
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))  # read by the import
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise ConfigError(
            f"images need the package opencv-python-headless ({error}); pip install 'poselift[camera]'"
        ) from None
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
