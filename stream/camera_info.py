"""What subscribers learn about a camera: its intrinsics, and where it stands in the world."""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np

from stream.rotations import F64, matrix_from_quaternion

Number = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]  # excludes NaN too
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e6)]


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """Focal lengths fx, fy and principal point cx, cy of a camera, in pixels of its images.

    distortion: OpenCV's coefficients k1, k2, p1, p2, k3 ... status: "calibrated", or "assumed" from a field
    of view. The centre of the first pixel is (0, 0).
    """

    status: Literal["calibrated", "assumed"]
    fx: Positive
    fy: Positive
    cx: Number
    cy: Number
    distortion: tuple[Number, ...] = ()


@dataclass(frozen=True, slots=True)
class Extrinsics:
    """The transform from a camera's optical axes to a world with z up: rotate by quat (xyzw), then add pos.

    It equals a ROS static transform from `frame_id` to `child_frame_id`; pos is in metres. status: "given" by
    the config, or "estimated" from the feet of people, then with standard deviations of its tilt and height.
    """

    frame_id: str
    child_frame_id: str
    pos: tuple[Number, Number, Number]
    quat: tuple[Number, Number, Number, Number]
    status: Literal["given", "estimated"]
    tilt_sd_deg: Number = 0.0
    height_sd_m: Number = 0.0

    def matrix(self) -> F64:
        """The rotation (3, 3): its columns are the camera's right, down and forward in the world."""
        return matrix_from_quaternion(self.quat)

    def to_world(self, points: F64) -> F64:
        """World points (..., 3) of points (..., 3) in the camera's axes, in metres."""
        return points @ self.matrix().T + self.pos

    def to_camera(self, points: F64) -> F64:
        """Points (..., 3) in the camera's axes of world points (..., 3), in metres."""
        camera: F64 = (points - np.array(self.pos)) @ self.matrix()
        return camera
