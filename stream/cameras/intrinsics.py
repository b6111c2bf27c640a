"""A camera's intrinsics: which way a pixel looks."""

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

_COEFFICIENTS = (0, 4, 5, 8, 12, 14)  # how many distortion coefficients OpenCV's lens models have


class CameraSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Intrinsics of a camera as `poselift calibrate` prints them.

    size_wh: Width and height in pixels of the images that were calibrated. Images of another size with the
    same ratio of sides are taken as scaled, not as cropped.

    fx: Horizontal focal length in pixels.

    fy: Vertical focal length in pixels.

    cx: Column of the principal point in pixels.

    cy: Row of the principal point in pixels.

    distortion: Distortion coefficients of OpenCV in its order: k1, k2, p1, p2, k3 and so on; empty for none.
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
        if len(self.distortion) not in _COEFFICIENTS:
            raise ConfigError(
                f"distortion: expected {', '.join(map(str, _COEFFICIENTS[:-1]))} or {_COEFFICIENTS[-1]} "
                f"coefficients in OpenCV's order, got {len(self.distortion)}"
            )


@dataclass(frozen=True, slots=True)
class Camera:
    """Focal lengths, principal point (2,) px and distortion of a camera, for one size of its images."""

    focal: tuple[float, float]
    centre: tuple[float, float]
    distortion: tuple[float, ...] = ()
    is_calibrated: bool = False

    @property
    def intrinsics(self) -> Intrinsics:
        """As subscribers are told."""
        status: Literal["calibrated", "assumed"] = "calibrated" if self.is_calibrated else "assumed"
        return Intrinsics(status, *self.focal, *self.centre, self.distortion)

    def rays(self, xy: F32) -> F64:
        """Where pixels (J, 2) lie on the plane at distance 1, lens undone: (J, 2) float64; NaN stays NaN."""
        rays: F64 = (np.asarray(xy, np.float64) - self.centre) / self.focal
        if any(self.distortion) and (known := np.isfinite(rays).all(axis=1)).any():
            cv2 = importlib.import_module("cv2")
            straight = cv2.undistortPoints(rays[known][:, None], np.eye(3), np.array(self.distortion))
            rays[known] = straight[:, 0]
        return rays


def batch_rays(cameras: Sequence[Camera], xy: F32) -> F64:
    """The rays (P, J, 2) of pixels (P, J, 2), each row before a camera of its own."""
    focal, centre = (np.array([getattr(camera, name) for camera in cameras]) for name in ("focal", "centre"))
    rays: F64 = (xy - centre[:, None]) / focal[:, None]
    for row, camera in enumerate(cameras):
        if camera.distortion:
            rays[row] = camera.rays(xy[row])
    return rays


def from_fov(fov_deg: float, size_wh: tuple[int, int]) -> Camera:
    """A camera that sees `fov_deg` along the longer side of its images, without distortion."""
    focal_px = max(size_wh) / 2 / math.tan(math.radians(fov_deg) / 2)
    return Camera((focal_px, focal_px), ((size_wh[0] - 1) / 2, (size_wh[1] - 1) / 2))


def from_calibration(settings: CameraSettings, size_wh: tuple[int, int]) -> Camera:
    """The camera with these intrinsics when its images are `size_wh` large."""
    across, down = size_wh[0] / settings.size_wh[0], size_wh[1] / settings.size_wh[1]
    if abs(across / down - 1) > 0.01:
        raise ConfigError(
            f"expected images with the sides' ratio of {'x'.join(map(str, settings.size_wh))}, for which the "
            f"camera was calibrated, got {'x'.join(map(str, size_wh))}; calibrate with images of that size"
        )
    if any(settings.distortion):
        _need_opencv()
    # The centre of the first pixel is (0, 0), its corner (-0.5, -0.5): that corner stays when images scale.
    return Camera(
        (settings.fx * across, settings.fy * down),
        ((settings.cx + 0.5) * across - 0.5, (settings.cy + 0.5) * down - 0.5),
        settings.distortion,
        is_calibrated=True,
    )


def _need_opencv() -> None:
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        raise ConfigError(
            f"distortion needs the package opencv-python-headless ({error}); pip install 'poselift[camera]'"
        ) from None
