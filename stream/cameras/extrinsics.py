"""How a person says where a camera stands."""

import math

import msgspec
import numpy as np

from stream.cameras.intrinsics import F64
from stream.errors import ConfigError

Triple = tuple[float, float, float]

# A camera's body axes (x ahead, y left, z up) as its optical ones (x right, y down, z ahead) name them.
_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


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
        if not all(abs(number) < 1e5 for number in numbers):
            raise ConfigError(f"camera_pose: expected finite metres and degrees, got {numbers}")
        if (self.rpy_deg is None) == (self.looks_at_m is None) or (self.rpy_deg and self.roll_deg):
            given = [key for key in ("rpy_deg", "looks_at_m", "roll_deg") if getattr(self, key)]
            raise ConfigError(
                "camera_pose: expected rpy_deg, or looks_at_m with or without roll_deg, "
                f"got {' and '.join(given) or 'neither'}"
            )
        if self.looks_at_m and math.dist(self.looks_at_m[:2], self.position_m[:2]) < 1e-3:
            raise ConfigError(
                "camera_pose: looks_at_m is right above or below the camera; give rpy_deg instead"
            )

    def matrix(self) -> F64:
        """The rotation (3, 3) from optical axes to the world."""
        if self.rpy_deg is not None:
            roll, pitch, yaw = np.radians(self.rpy_deg)
            return _turn(2, yaw) @ _turn(1, pitch) @ _turn(0, roll) @ _BODY
        ahead = np.subtract(self.looks_at_m or (1.0, 0.0, 0.0), self.position_m)
        return _level(ahead) @ _turn(2, math.radians(self.roll_deg))


def _level(ahead: F64) -> F64:
    """The rotation (3, 3) from optical axes to the world of a level camera that looks `ahead`."""
    ahead = ahead / np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(ahead, right), ahead], axis=1)


def _turn(axis: int, angle_rad: float) -> F64:
    """The rotation (3, 3) about one of the axes."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    turn = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn[first, first] = turn[second, second] = cos
    turn[first, second], turn[second, first] = -sin, sin
    return turn
