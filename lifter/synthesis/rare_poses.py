"""Add poses that are rare in motion capture: mixed bodies, sitting, bending, reaching, lying.

Every function takes windows (B, F, 19, 3) float32 in metres with z up, and returns new ones.
"""

import torch
from torch import Tensor

from lifter.data.mocap_joints import (
    LEFT_ARM,
    LEFT_HIP,
    LEFT_LEG,
    LEGS,
    PELVIS,
    RIGHT_ARM,
    RIGHT_HIP,
    RIGHT_LEG,
    UPPER_BODY,
)
from lifter.normalise import constant
from lifter.synthesis.noise import smooth_noise


def augment_poses(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Change a random part of the windows (B, F, 19, 3): other legs, sitting, bending, reaching, any tilt."""
    chance = torch.rand(5, len(xyz), generator=generator)
    xyz = _where(chance[0] < 0.25, mix_bodies(xyz), xyz)
    xyz = _where(chance[1] < 0.1, seat(xyz, generator), xyz)
    xyz = _where(chance[3] < 0.08, bend_forward(xyz, generator), xyz)
    xyz = _where(chance[4] < 0.12, move_arms(xyz, generator), xyz)
    return _where(chance[2] < 0.05, tilt(xyz, generator), xyz)


def _where(selected: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(selected[:, None, None, None], new, old)


def mix_bodies(xyz: Tensor) -> Tensor:
    """Legs and path of each window with the upper body of the window before, turned to the same heading."""
    other = xyz.roll(1, dims=0)
    turn = _heading(xyz) - _heading(other)  # (B, F)
    cos, sin = turn.cos()[..., None], turn.sin()[..., None]
    x, y, z = (other - other[:, :, :1]).unbind(-1)
    mixed = torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1) + xyz[:, :, :1]
    legs = constant(LEGS, xyz.device)
    mixed[:, :, legs] = xyz[:, :, legs]
    mixed[:, :, PELVIS] = xyz[:, :, PELVIS]
    return mixed


def _heading(xyz: Tensor) -> Tensor:
    """Angle (B, F) about the vertical of the line from the left to the right hip."""
    hips = xyz[:, :, RIGHT_HIP] - xyz[:, :, LEFT_HIP]
    return torch.atan2(hips[..., 1], hips[..., 0])


def seat(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Seat each person on a chair: thighs forward, shins down, both with some motion."""
    windows, frames = xyz.shape[:2]
    angle = _heading(xyz)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    right = torch.stack([angle.cos(), angle.sin(), zero], dim=-1)
    forward = torch.stack([-angle.sin(), angle.cos(), zero], dim=-1)
    up = torch.stack([zero, zero, one], dim=-1)
    mean_angle = 0.25 * torch.randn(windows, 1, 4, generator=generator)
    sway = mean_angle + 0.08 * smooth_noise(torch.randn(windows, frames, 4, generator=generator), 20.0)
    seated = xyz.clone()
    for (hip, knee, ankle), side, column in ((RIGHT_LEG, 1.0, 0), (LEFT_LEG, -1.0, 2)):
        drop, bend = sway[..., column, None] + 0.2, sway[..., column + 1, None] * 1.2
        spread = 0.15 + 0.15 * mean_angle[..., column, None].abs()
        thigh = forward * drop.cos() - up * drop.sin() + right * side * spread
        shin = -up * bend.cos() + forward * bend.sin()
        for joint, parent, direction in ((knee, hip, thigh), (ankle, knee, shin)):
            length = torch.linalg.vector_norm(xyz[:, :, joint] - xyz[:, :, parent], dim=-1, keepdim=True)
            unit = torch.nn.functional.normalize(direction, dim=-1)
            seated[:, :, joint] = seated[:, :, parent] + unit * length
    return seated


def bend_forward(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Bend the upper body of each window forward at the hips, by 0 to 1.9 rad and some motion."""
    windows, frames = xyz.shape[:2]
    mean_angle = 1.9 * torch.rand(windows, 1, 1, generator=generator)
    angle = mean_angle + 0.25 * smooth_noise(torch.randn(windows, frames, 1, generator=generator), 20.0)
    hip_axis = torch.nn.functional.normalize(xyz[:, :, RIGHT_HIP] - xyz[:, :, LEFT_HIP], dim=-1)
    return _rotate_joints(xyz, UPPER_BODY, PELVIS, -angle * hip_axis)


def move_arms(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate each arm about its shoulder by a random rotation that changes slowly."""
    windows, frames = xyz.shape[:2]
    for arm in (LEFT_ARM, RIGHT_ARM):
        mean_angle = 0.7 * torch.randn(windows, 1, 3, generator=generator)
        motion = 0.25 * smooth_noise(torch.randn(windows, frames, 3, generator=generator), 15.0)
        xyz = _rotate_joints(xyz, arm, arm[0], mean_angle + motion)
    return xyz


def _rotate_joints(xyz: Tensor, joints: tuple[int, ...], pivot: int, rotation_vector: Tensor) -> Tensor:
    """Rotate `joints` about the joint `pivot` by rotation vectors (B, F, 3) in rad (Rodrigues' formula)."""
    angle = torch.linalg.vector_norm(rotation_vector, dim=-1, keepdim=True).clamp(min=1e-6)
    axis = (rotation_vector / angle)[:, :, None]
    cos, sin = angle.cos()[:, :, None], angle.sin()[:, :, None]
    centre, index = xyz[:, :, pivot, None], constant(joints, xyz.device)
    arm = xyz[:, :, index] - centre
    along = (arm * axis).sum(dim=-1, keepdim=True) * axis
    rotated = xyz.clone()
    rotated[:, :, index] = centre + along + cos * (arm - along) + sin * torch.linalg.cross(axis, arm)
    return rotated


def tilt(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate each window about its first root by a random rotation: lying, leaning, upside down."""
    rotation, _ = torch.linalg.qr(torch.randn(len(xyz), 3, 3, generator=generator))
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]  # -1 would be a mirror image
    root = xyz[:, :1, :1]
    tilted: Tensor = (xyz - root) @ rotation[:, None] + root
    return tilted
