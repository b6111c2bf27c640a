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
    return matrices(np.array(quat_xyzw) / np.linalg.norm(quat_xyzw))


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


def quaternions(matrices: F64) -> F64:
    """Rotation matrices (..., 3, 3) as unit quaternions (..., 4) in the order x, y, z, w (Shepperd 1978)."""
    xx, xy, xz, yx, yy, yz, zx, zy, zz = np.moveaxis(matrices.reshape(*matrices.shape[:-2], 9), -1, 0)
    # Each row is 4 q_i q for one component q_i; the largest component gives the most exact one.
    rows = np.empty((*xx.shape, 4, 4))
    rows[..., 0, 0], rows[..., 1, 1] = 1 + xx - yy - zz, 1 - xx + yy - zz
    trace = xx + yy + zz
    rows[..., 2, 2], rows[..., 3, 3] = 1 - xx - yy + zz, 1 + trace
    rows[..., 0, 1] = rows[..., 1, 0] = yx + xy
    rows[..., 0, 2] = rows[..., 2, 0] = zx + xz
    rows[..., 1, 2] = rows[..., 2, 1] = zy + yz
    rows[..., 0, 3] = rows[..., 3, 0] = zy - yz
    rows[..., 1, 3] = rows[..., 3, 1] = xz - zx
    rows[..., 2, 3] = rows[..., 3, 2] = yx - xy
    largest = np.stack([xx, yy, zz, trace], axis=-1).argmax(axis=-1)
    quats = np.take_along_axis(rows, largest[..., None, None], axis=-2)[..., 0, :]
    quats /= np.linalg.norm(quats, axis=-1, keepdims=True)
    return np.asarray(quats)


def matrices(quats_xyzw: F64) -> F64:
    """Unit quaternions (..., 4) in the order x, y, z, w as rotation matrices (..., 3, 3)."""
    x, y, z, w = np.moveaxis(np.asarray(quats_xyzw, np.float64), -1, 0)
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=-1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=-1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=-1),
        ],
        axis=-2,
    )


def cross(a: F64, b: F64) -> F64:
    """Cross products (..., 3) of vectors (..., 3): as np.cross, at a quarter of its cost for few vectors."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    product = np.empty(np.broadcast_shapes(a.shape, b.shape))
    product[..., 0] = ay * bz - az * by
    product[..., 1] = az * bx - ax * bz
    product[..., 2] = ax * by - ay * bx
    return product


def shortest_arcs(start: F64, end: F64) -> F64:
    """The smallest rotations (..., 3, 3) that turn unit vectors `start` (..., 3) into `end` (..., 3).

    For opposite vectors the axis is undefined; any axis across `start` is taken.
    """
    skew = _skew(cross(start, end))
    cosine = np.einsum("...i,...i->...", start, end)
    near = 1 + cosine > 1e-9
    factor = np.where(near, 1 / np.where(near, 1 + cosine, 1.0), 0.0)
    arcs: F64 = np.eye(3) + skew + skew @ skew * factor[..., None, None]
    if not near.all():
        smallest = np.eye(3)[np.abs(start).argmin(axis=-1)]
        axis = cross(start, smallest)
        axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
        half_turns = 2 * axis[..., :, None] * axis[..., None, :] - np.eye(3)
        arcs = np.where(near[..., None, None], arcs, half_turns)
    return arcs


def turns(axes: F64, angles_rad: F64) -> F64:
    """Rotations (..., 3, 3) about unit vectors `axes` (..., 3) by `angles_rad` (...): Rodrigues' formula."""
    skew = _skew(axes)
    sine, cosine = np.sin(angles_rad)[..., None, None], np.cos(angles_rad)[..., None, None]
    return np.asarray(np.eye(3) + sine * skew + (1 - cosine) * (skew @ skew))


def _skew(vectors: F64) -> F64:
    """Matrices (..., 3, 3) whose product with a vector is the cross product of `vectors` (..., 3) with it."""
    skew = np.zeros((*vectors.shape, 3))
    skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0] = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    skew -= np.swapaxes(skew, -1, -2)
    return skew
