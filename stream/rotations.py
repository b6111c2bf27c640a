"""Rotations as quaternions (x, y, z, w) and matrices (3, 3)."""

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def quaternion(matrix: F64) -> tuple[float, float, float, float]:
    """The rotation `matrix` (3, 3) as x, y, z, w, with w not negative.

    The eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack 2000): no case apart.
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


def matrix_from_quaternion(quat_xyzw: tuple[float, float, float, float]) -> F64:
    """The rotation matrix (3, 3) of a quaternion, which need not be of length 1."""
    x, y, z, w = np.array(quat_xyzw) / np.linalg.norm(quat_xyzw)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
