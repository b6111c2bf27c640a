"""Makes one pose of several hypotheses (D3DP, section 3.4): by the mean, or joint by joint by the camera.

Names of the paper: "mean" is P-Agg, which needs nothing else; "jpma" is J-Agg, which needs the camera. P-Best
and J-Best need the truth, so they say only what is in the hypotheses: "p-best" takes of each window the
hypothesis nearest to it (the release: of each video), "j-best" of each joint of each frame.

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
        part.view(len(camera), *[1] * (points.ndim - 2), -1) for part in camera.split((2, 2, 3, 2), dim=-1)
    )
    plane = (points[..., :2] / points[..., 2:]).clamp(-1, 1)
    r2 = plane.square().sum(dim=-1, keepdim=True)
    bent = 1 + (radial * torch.cat([r2, r2**2, r2**3], dim=-1)).sum(dim=-1, keepdim=True)
    bent = bent + (tangential * plane).sum(dim=-1, keepdim=True)
    return focal * (plane * bent + tangential * r2) + centre


def place(poses: Tensor, keypoints: Tensor, camera: Tensor) -> Tensor:
    """Where the root (B, F, 1, 3) of poses (B, F, J, 3) must be to appear at keypoints (B, F, J, 2).

    Least squares over the joints, per frame, on x + X = u (z + Z) with u the keypoint on the plane at
    distance 1; the lens's distortion is left out. A trace of damping answers for a person who is one point.
    """
    u = (keypoints - camera[:, None, None, 2:4]) / camera[:, None, None, :2]  # (B, F, J, 2)
    one, zero = torch.ones_like(u[..., 0]), torch.zeros_like(u[..., 0])
    rows = torch.stack([one, zero, -u[..., 0], zero, one, -u[..., 1]], dim=-1).unflatten(-1, (2, 3))
    wanted = u * poses[..., 2:] - poses[..., :2]  # (B, F, J, 2)
    system, wanted = rows.flatten(-3, -2), wanted.flatten(-2)[..., None]  # (B, F, 2J, 3), (B, F, 2J, 1)
    normal = system.transpose(-1, -2)
    damping = 1e-6 * torch.eye(3, device=u.device)
    return torch.linalg.solve(normal @ system + damping, normal @ wanted).transpose(-1, -2)


def jpma(hypotheses: Tensor, keypoints: Tensor, camera: Tensor, root: Tensor | None = None) -> Tensor:
    """Poses (B, F, J, 3): of each joint the hypothesis (B, H, F, J, 3) that projects nearest to its keypoint.

    keypoints (B, F, J, 2); root (B, F, 1, 3) in metres. The published J-Agg figures use the true root;
    without one, the mean hypothesis is placed by `place`.
    """
    if root is None:
        root = place(hypotheses.mean(dim=1), keypoints, camera)
    miss = project(hypotheses + root[:, None], camera) - keypoints[:, None]  # (B, H, F, J, 2)
    best = miss.norm(dim=-1).argmin(dim=1)  # (B, F, J)
    return torch.take_along_dim(hypotheses, best[:, None, ..., None], dim=1)[:, 0]


def pose_best(hypotheses: Tensor, truth: Tensor, joints: list[int]) -> Tensor:
    """Poses (B, F, J, 3): of each window the hypothesis (B, H, F, J, 3) with `joints` nearest to truth."""
    miss = (hypotheses - truth[:, None])[..., joints, :].norm(dim=-1).mean(dim=(2, 3))  # (B, H)
    return torch.take_along_dim(hypotheses, miss.argmin(dim=1)[:, None, None, None, None], dim=1)[:, 0]


def joint_best(hypotheses: Tensor, truth: Tensor) -> Tensor:
    """Poses (B, F, J, 3): of each joint the hypothesis (B, H, F, J, 3) nearest to truth."""
    best = (hypotheses - truth[:, None]).norm(dim=-1).argmin(dim=1)  # (B, F, J)
    return torch.take_along_dim(hypotheses, best[:, None, ..., None], dim=1)[:, 0]
