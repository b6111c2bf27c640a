"""The pose of a camera in the world, as a config gives it."""

import math

import msgspec
import numpy as np

from stream.errors import ConfigError
from stream.rotations import F64, axis_rotation, look_at

Triple = tuple[float, float, float]

_MAX_NUMBER = 1e5
_MIN_HORIZONTAL_M = 1e-3  # nearer than this to the camera's vertical, a point gives no heading
# Optical axes (x right, y down, z forward) to the camera's body axes (x forward, y left, z up).
_OPTICAL_TO_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


class CameraPose(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Position of a camera in the world, and its rotation (`rpy_deg`) or the point that it looks at
    (`looks_at_m`).

    position_m: Position of the lens in metres: x, y, z with z up.

    rpy_deg: Roll, pitch and yaw in degrees of the camera's body (x forward, y left, z up) about the world's
    x, y and z in this order, as in URDF. [0, 0, 0] looks along the world's x, a pitch of 20 looks down, a yaw
    of 90 looks along y.

    looks_at_m: Point in metres that appears in the middle of the image; the camera is level except for
    `roll_deg`.

    roll_deg: Rotation in degrees about the optical axis, with `looks_at_m` only.
    """

    position_m: Triple
    rpy_deg: Triple | None = None
    looks_at_m: Triple | None = None
    roll_deg: float = 0.0

    def __post_init__(self) -> None:
        numbers = [*self.position_m, *(self.rpy_deg or ()), *(self.looks_at_m or ()), self.roll_deg]
        if not all(abs(number) < _MAX_NUMBER for number in numbers):
            raise ConfigError(f"camera_pose: expected finite metres and degrees, got {numbers}")
        if (self.rpy_deg is None) == (self.looks_at_m is None) or (self.rpy_deg and self.roll_deg):
            present = [key for key in ("rpy_deg", "looks_at_m", "roll_deg") if getattr(self, key)]
            raise ConfigError(
                "camera_pose: expected rpy_deg, or looks_at_m with or without roll_deg, "
                f"got {' and '.join(present) or 'neither'}"
            )
        if self.looks_at_m and math.dist(self.looks_at_m[:2], self.position_m[:2]) < _MIN_HORIZONTAL_M:
            raise ConfigError(
                "camera_pose: looks_at_m is right above or below the camera; give rpy_deg instead"
            )

    def matrix(self) -> F64:
        """The rotation (3, 3) from optical axes to the world."""
        if self.rpy_deg is not None:
            roll, pitch, yaw = np.radians(self.rpy_deg)
            body_to_world = axis_rotation(2, yaw) @ axis_rotation(1, pitch) @ axis_rotation(0, roll)
            matrix: F64 = body_to_world @ _OPTICAL_TO_BODY
            return matrix
        assert self.looks_at_m is not None
        return look_at(np.subtract(self.looks_at_m, self.position_m)) @ axis_rotation(
            2, math.radians(self.roll_deg)
        )
