"""A camera's intrinsics: the ray through a pixel, and the pixel of a point."""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from stream.camera_info import Intrinsics
from stream.errors import ConfigError
from stream.messages import F32
from stream.rotations import F64

MAX_PX = 1e6  # no camera has larger intrinsics, and larger ones overflow
_DISTORTION_COUNTS = (0, 4, 5, 8, 12, 14)  # of coefficients in OpenCV's lens models
_MAX_ASPECT_ERROR = 0.01  # relative difference of two aspect ratios that count as equal


@dataclass(frozen=True, slots=True)
class Camera:
    """Focal lengths and principal point, (2,) px each, and distortion, for one size of a camera's images."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Intrinsics of a camera as `poselift calibrate` prints them.

        size_wh: Width and height in pixels of the images that were calibrated. Images of another size with
        the same ratio of sides are taken as scaled, not as cropped.

        fx: Horizontal focal length in pixels.

        fy: Vertical focal length in pixels.

        cx: Column of the principal point in pixels.

        cy: Row of the principal point in pixels.

        distortion: Distortion coefficients of OpenCV in its order: k1, k2, p1, p2, k3 and so on; empty for
        none.
        """

        size_wh: tuple[int, int]
        fx: float
        fy: float
        cx: float
        cy: float
        distortion: tuple[float, ...] = ()

        def __post_init__(self) -> None:
            if min(*self.size_wh, self.fx, self.fy) <= 0:
                raise ConfigError(
                    "expected size_wh, fx and fy above 0, "
                    f"got size_wh {list(self.size_wh)}, fx {self.fx}, fy {self.fy}"
                )
            pixels = (*self.size_wh, self.fx, self.fy, self.cx, self.cy)
            if min(self.fx, self.fy) < 1 or max(map(abs, (*pixels, *self.distortion))) > MAX_PX:
                raise ConfigError(
                    f"expected fx and fy from 1 and all values up to {MAX_PX:.0f}, got fx {self.fx}, "
                    f"fy {self.fy}, cx {self.cx}, cy {self.cy}, distortion {list(self.distortion)}"
                )
            if len(self.distortion) not in _DISTORTION_COUNTS:
                *counts, last = _DISTORTION_COUNTS
                raise ConfigError(
                    f"distortion: expected {', '.join(map(str, counts))} or {last} "
                    f"coefficients in OpenCV's order, got {len(self.distortion)}"
                )

    focal: tuple[float, float]
    centre: tuple[float, float]
    distortion: tuple[float, ...] = ()
    is_calibrated: bool = False

    @classmethod
    def from_fov(cls, fov_deg: float, size_wh: tuple[int, int]) -> "Camera":
        """A camera with a field of view of `fov_deg` along the longer image side, without distortion."""
        focal_px = max(size_wh) / 2 / math.tan(math.radians(fov_deg) / 2)
        return cls((focal_px, focal_px), ((size_wh[0] - 1) / 2, (size_wh[1] - 1) / 2))

    @classmethod
    def from_calibration(cls, settings: Settings, size_wh: tuple[int, int]) -> "Camera":
        """The camera with calibrated intrinsics, scaled to images of `size_wh`.

        Raises ConfigError when the images have another aspect ratio than those of the calibration, or when
        distortion is to be undone without OpenCV.
        """
        scale_x, scale_y = size_wh[0] / settings.size_wh[0], size_wh[1] / settings.size_wh[1]
        if abs(scale_x / scale_y - 1) > _MAX_ASPECT_ERROR:
            raise ConfigError(
                f"expected images with the aspect ratio of {'x'.join(map(str, settings.size_wh))}, for which "
                f"the camera was calibrated, got {'x'.join(map(str, size_wh))}; calibrate with images of "
                "that size"
            )
        if any(settings.distortion):
            _require_opencv()
        # The centre of the first pixel is (0, 0), its corner (-0.5, -0.5), which scaling leaves in place.
        return cls(
            (settings.fx * scale_x, settings.fy * scale_y),
            ((settings.cx + 0.5) * scale_x - 0.5, (settings.cy + 0.5) * scale_y - 0.5),
            settings.distortion,
            is_calibrated=True,
        )

    @property
    def intrinsics(self) -> Intrinsics:
        """The intrinsics as they are published."""
        status: Literal["calibrated", "assumed"] = "calibrated" if self.is_calibrated else "assumed"
        return Intrinsics(status, *self.focal, *self.centre, self.distortion)

    def project(self, points: F64) -> F64:
        """Pixels (..., 2) of points (..., 3) in the camera's axes by the pinhole model, without distortion.

        Points behind the camera are NaN.
        """
        depth = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        pixels: F64 = np.array(self.focal) * points[..., :2] / depth + np.array(self.centre)
        return pixels

    def pinhole_rays(self, xy: F32 | F64) -> F64:
        """Points (..., 2) float64 on the plane at depth 1 that pixels (..., 2) show, ignoring distortion."""
        rays: F64 = (xy - np.array(self.centre)) / np.array(self.focal)
        return rays

    def rays(self, xy: F32) -> F64:
        """Points (J, 2) float64 on the plane at depth 1 that pixels (J, 2) show, distortion undone.

        NaN stays NaN.
        """
        rays = self.pinhole_rays(xy)
        if any(self.distortion) and (finite := np.isfinite(rays).all(axis=1)).any():
            cv2 = importlib.import_module("cv2")
            undistorted = cv2.undistortPoints(rays[finite][:, None], np.eye(3), np.array(self.distortion))
            rays[finite] = undistorted[:, 0]
        return rays


def batch_rays(cameras: Sequence[Camera], xy: F32) -> F64:
    """Rays (P, J, 2) float64 of pixels (P, J, 2), as `Camera.rays`; row p belongs to cameras[p]."""
    focal, centre = (np.array([getattr(camera, name) for camera in cameras]) for name in ("focal", "centre"))
    rays: F64 = (xy - centre[:, None]) / focal[:, None]
    for row, camera in enumerate(cameras):
        if camera.distortion:
            rays[row] = camera.rays(xy[row])
    return rays


def _require_opencv() -> None:
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        raise ConfigError(
            f"distortion needs the package opencv-python-headless ({error}); pip install 'poselift[camera]'"
        ) from None
