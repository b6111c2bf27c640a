"""The translation that puts a pose of known shape onto the rays of its joints, by robust least squares."""

from functools import cache

import numpy as np

from stream.messages import F32, Mask
from stream.rotations import F64

_IRLS_ITERATIONS = 2  # each gives less weight to joints far off the previous solution
_MIN_RESIDUAL_M = 0.02  # a lifted pose is never more exact than that
_MIN_RAY_VARIANCE = 1e-12  # below it all joints are in one spot of the image


def solve_translation(xyz: F64, rays: F64, score: F32, visible: Mask) -> tuple[F64, F64, F64]:
    """Translations (P, 3) in metres that put points xyz (P, J, 3) onto rays (P, J, 2).

    Only visible points (P, J) count, weighted by score (P, J). Also returns the standard deviations (P,) of
    the third component and of the two others; all are NaN where the points do not determine them.

    A joint at X on the ray u must fulfil root_xy = u root_z + o, with o = u X_z - X_xy: a line whose slope is
    root_z. Weighted least squares, repeated with less weight for joints that did not fit. What the solution
    needs is linear in the weights.
    """
    mask = None if visible.all() else visible
    if mask is not None:
        xyz, rays = np.where(mask[..., None], xyz, 0), np.where(mask[..., None], rays, 0)
        score = np.where(mask, score, 0)
    people, joints = score.shape
    terms = np.empty((7, people, joints))  # of each joint: 1, u, o, u.u, u.o
    points, u, o = xyz.transpose(2, 0, 1), terms[1:3], terms[3:5]
    terms[0], u[:] = 1, rays.transpose(2, 0, 1)
    o[:] = u * points[2] - points[:2]
    terms[5:7] = (terms[1:5].reshape(2, 2, people, joints) * u).sum(axis=1)
    xy, z = _initial_translation(points, u, mask)
    for _ in range(_IRLS_ITERATIONS):
        residual = u * z[:, None] + o - xy[..., None]
        residual *= residual
        residual2 = residual[0] + residual[1]  # (P, J) square metres
        spread2 = np.maximum(_MIN_RESIDUAL_M**2, _median(residual2, mask))
        sums = (terms * (score / (1 + residual2 / (4 * spread2[:, None])))).sum(axis=2)
        means = sums / np.maximum(sums[0], 1e-12)
        mean_u, mean_o = means[1:3], means[3:5]
        ray_variance = means[5] - (mean_u * mean_u).sum(axis=0)
        ray_variance[ray_variance <= _MIN_RAY_VARIANCE] = np.nan
        z = ((mean_u * mean_o).sum(axis=0) - means[6]) / ray_variance
        xy = mean_o + mean_u * z
    lateral_sd = np.sqrt(spread2 / visible.sum(axis=1))
    return np.concatenate([xy, z[None]]).T, lateral_sd / np.sqrt(ray_variance), lateral_sd


def _initial_translation(points: F64, rays: F64, mask: Mask | None) -> tuple[F64, F64]:
    """Start of the iteration: lateral (2, P) and depth (P,) in metres, robust against a few wrong joints.

    points (3, P, J), rays (2, P, J). Two joints are as many times farther apart in space than on the plane at
    depth 1 as they are away from the camera; the medians take all joints as equally far away.
    """
    pairs = _pair_differences(rays.shape[2])
    differences = np.concatenate([points[:2], rays]) @ pairs  # (4, P, pairs)
    differences *= differences
    in_space2, on_plane2 = differences[0] + differences[1], differences[2] + differences[3]
    both_visible = None if mask is None else mask @ np.abs(pairs) == 2
    # Joints that are close together determine the distance poorly: only the farther half of the pairs counts.
    far_pairs: Mask = in_space2 >= _median(in_space2, both_visible)[:, None]
    far_pairs = far_pairs if both_visible is None else far_pairs & both_visible
    depth = np.sqrt(_median(in_space2 / np.maximum(on_plane2, 1e-12), far_pairs))
    x, y = rays * depth[:, None] - points[:2]
    return np.array([_median(x, mask), _median(y, mask)]), depth


@cache
def _pair_differences(joints: int) -> F64:
    """A matrix (joints, pairs) that maps values (..., joints) to the differences of all pairs of joints."""
    identity = np.eye(joints)
    first, second = np.triu_indices(joints, 1)
    return identity[:, first] - identity[:, second]


def _median(values: F64, mask: Mask | None) -> F64:
    """The upper median (P,) of values (P, N) where mask (P, N) is true; None counts all."""
    ordered = values.copy() if mask is None else np.where(mask, values, np.inf)
    ordered.sort()
    if mask is None:
        return ordered[:, values.shape[1] // 2]
    median: F64 = ordered[np.arange(len(values)), mask.sum(axis=1) // 2]
    return median
