"""Rotations as quaternions (x, y, z, w) and as matrices (3, 3), in float64."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]
Quaternion = tuple[float, float, float, float]

_WORLD_UP = np.array([0.0, 0.0, 1.0])


def quaternion_from_matrix(matrix: F64) -> Quaternion:
    """The quaternion x, y, z, w, with w >= 0, of a rotation `matrix` (3, 3).

    It is the eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack 2000), a method that
    needs no special cases.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = matrix
    symmetric = np.array(
        [
            [xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, yy - xx - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    quat = np.linalg.eigh(symmetric)[1][:, -1]
    x, y, z, w = (quat if quat[3] >= 0 else -quat).tolist()
    return x, y, z, w


def matrix_from_quaternion(quat_xyzw: Quaternion) -> F64:
    """The rotation matrix (3, 3) of a quaternion, which is normalised first."""
    x, y, z, w = np.array(quat_xyzw) / np.linalg.norm(quat_xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def axis_rotation(axis: int, angle_rad: float) -> F64:
    """The rotation matrix (3, 3) by `angle_rad` about the x (0), y (1) or z (2) axis."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix


def look_at(forward: ArrayLike) -> F64:
    """The rotation (3, 3) from optical axes to a world with z up, of a level camera that looks `forward`.

    forward (3,): of any length, in the world, not vertical. The columns of the result are the camera's right,
    down and forward in the world.
    """
    direction = np.asarray(forward, np.float64)
    direction = direction / np.linalg.norm(direction)
    right = np.cross(direction, _WORLD_UP)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction]).T


def level_axes(up: F64, forward: F64) -> F64:
    """The rotation (3, 3) into axes with z along `up` (3,) and x along `forward` (3,), made level.

    up: a unit vector; forward: not parallel to it. The rows of the result are the new x, y and z axes.
    """
    level = forward - (forward @ up) * up
    level /= np.linalg.norm(level)
    return np.stack([level, np.cross(up, level), up])
