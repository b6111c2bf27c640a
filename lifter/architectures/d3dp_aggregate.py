"""Merges several hypotheses into one pose (D3DP, section 3.4): by their mean, or joint by joint.

| aggregate | name in the paper | what it needs                                                        |
|-----------|-------------------|----------------------------------------------------------------------|
| "mean"    | P-Agg             | nothing else                                                         |
| "jpma"    | J-Agg             | the camera: each joint from the hypothesis that projects nearest     |
| "p-best"  | P-Best            | the truth: the nearest hypothesis per window (the release: per video) |
| "j-best"  | J-Best            | the truth: the nearest hypothesis per joint and frame                |

The two that need the truth measure how good the hypotheses are; they are no lifters.

A camera is given as in Human3.6M's published intrinsics, (B, 9) float32: focal lengths fx fy, centre
cx cy, radial k1 k2 k3 and tangential p1 p2 distortion, in the units of "screen" keypoints (half the
image's width is 1; the image's centre is 0, 0).
"""

from typing import Literal

import torch
from torch import Tensor

Aggregate = Literal["mean", "jpma", "p-best", "j-best"]


def project(points: Tensor, camera: Tensor) -> Tensor:
    """Keypoints (B, ..., 2) of points (B, ..., 3) in metres and camera axes; at most 45 degrees off-axis."""
    focal, centre, radial, tangential = (
        part.view(len(camera), *[1] * (points.ndim - 2), -1)
        for part in torch.split(camera, [2, 2, 3, 2], dim=-1)
    )
    plane = (points[..., :2] / points[..., 2:]).clamp(-1, 1)
    r2 = plane.square().sum(dim=-1, keepdim=True)
    factor = 1 + (radial * torch.cat([r2, r2**2, r2**3], dim=-1)).sum(dim=-1, keepdim=True)
    factor = factor + (tangential * plane).sum(dim=-1, keepdim=True)
    keypoints: Tensor = focal * (plane * factor + tangential * r2) + centre
    return keypoints


def solve_root(poses: Tensor, keypoints: Tensor, camera: Tensor) -> Tensor:
    """Root position (B, F, 1, 3) in metres at which poses (B, F, J, 3) project to keypoints (B, F, J, 2).

    Least squares over the joints of each frame on x + X = u (z + Z), with u the keypoint on the plane at
    distance 1; lens distortion is ignored. A little damping keeps the system solvable when all
    joints of a person coincide.
    """
    u = (keypoints - camera[:, None, None, 2:4]) / camera[:, None, None, :2]  # (B, F, J, 2)
    one, zero = torch.ones_like(u[..., 0]), torch.zeros_like(u[..., 0])
    rows = torch.stack([one, zero, -u[..., 0], zero, one, -u[..., 1]], dim=-1)
    system = torch.unflatten(rows, -1, (2, 3)).flatten(-3, -2)  # (B, F, 2J, 3)
    target = (u * poses[..., 2:] - poses[..., :2]).flatten(-2)[..., None]  # (B, F, 2J, 1)
    normal = system.transpose(-1, -2)
    damping = 1e-6 * torch.eye(3, device=u.device)
    root: Tensor = torch.linalg.solve(normal @ system + damping, normal @ target)
    return root.transpose(-1, -2)


def jpma(hypotheses: Tensor, keypoints: Tensor, camera: Tensor, root: Tensor | None = None) -> Tensor:
    """Poses (B, F, J, 3): of each joint the hypothesis (B, H, F, J, 3) that projects nearest to its keypoint.

    keypoints (B, F, J, 2); root (B, F, 1, 3) in metres. The published J-Agg figures use the true root;
    without a root, `solve_root` of the mean hypothesis is used.
    """
    if root is None:
        root = solve_root(hypotheses.mean(dim=1), keypoints, camera)
    offset = project(hypotheses + root[:, None], camera) - keypoints[:, None]  # (B, H, F, J, 2)
    best = offset.norm(dim=-1).argmin(dim=1)  # (B, F, J)
    return torch.take_along_dim(hypotheses, best[:, None, ..., None], dim=1)[:, 0]


def pose_best(hypotheses: Tensor, truth: Tensor, joints: list[int]) -> Tensor:
    """Poses (B, F, J, 3): of each window the hypothesis (B, H, F, J, 3) with `joints` nearest to truth."""
    error = (hypotheses - truth[:, None])[..., joints, :].norm(dim=-1).mean(dim=(2, 3))  # (B, H)
    return torch.take_along_dim(hypotheses, error.argmin(dim=1)[:, None, None, None, None], dim=1)[:, 0]


def joint_best(hypotheses: Tensor, truth: Tensor) -> Tensor:
    """Poses (B, F, J, 3): of each joint the hypothesis (B, H, F, J, 3) nearest to truth."""
    best = (hypotheses - truth[:, None]).norm(dim=-1).argmin(dim=1)  # (B, F, J)
    return torch.take_along_dim(hypotheses, best[:, None, ..., None], dim=1)[:, 0]
