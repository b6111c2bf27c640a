"""Postures that motion capture has too few of: limbs of one clip with those of another, sitting, lying."""

import torch
from torch import Tensor

from lifter.training.detector import smooth

_LEGS = (1, 2, 3, 4, 5, 6)


def vary(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Windows (B, F, 19, 3), z up, of which some got other legs, a seat or another way up."""
    chance = torch.rand(3, len(xyz), generator=generator)
    xyz = _where(chance[0] < 0.25, _combined(xyz), xyz)
    xyz = _where(chance[1] < 0.1, _seated(xyz, generator), xyz)
    return _where(chance[2] < 0.05, _tilted(xyz, generator), xyz)


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], new, old)


def _combined(xyz: Tensor) -> Tensor:
    """The legs and the path of each window with the upper body of the next, turned to face the same way."""
    other = xyz.roll(1, dims=0)
    turn = _heading(xyz) - _heading(other)  # (B, F)
    cos, sin = turn.cos()[..., None], turn.sin()[..., None]
    upper = other - other[:, :, :1]
    x, y, z = upper.unbind(-1)
    turned = torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1) + xyz[:, :, :1]
    turned[:, :, _LEGS] = xyz[:, :, _LEGS]
    turned[:, :, 0] = xyz[:, :, 0]
    return turned


def _heading(xyz: Tensor) -> Tensor:
    """Angle (B, F) of the line from left to right hip around the vertical."""
    hips = xyz[:, :, 1] - xyz[:, :, 4]
    return torch.atan2(hips[..., 1], hips[..., 0])


def _seated(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """The upper body of each window on a chair: thighs ahead, shins down, both moving a little."""
    windows, frames = xyz.shape[:2]
    angle = _heading(xyz)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    right = torch.stack([angle.cos(), angle.sin(), zero], dim=-1)
    ahead = torch.stack([-angle.sin(), angle.cos(), zero], dim=-1)
    up = torch.stack([zero, zero, one], dim=-1)
    still = 0.25 * torch.randn(windows, 1, 4, generator=generator)
    sway = still + 0.08 * smooth(torch.randn(windows, frames, 4, generator=generator), 20.0)
    seated = xyz.clone()
    for hip, side, part in ((1, 1.0, 0), (4, -1.0, 2)):
        drop, bend = sway[..., part, None] + 0.2, sway[..., part + 1, None] * 1.2
        spread = 0.15 + 0.15 * still[..., part, None].abs()
        thigh = ahead * drop.cos() - up * drop.sin() + right * side * spread
        shin = -up * bend.cos() + ahead * bend.sin()
        for joint, way in ((hip + 1, thigh), (hip + 2, shin)):
            length = torch.linalg.vector_norm(xyz[:, :, joint] - xyz[:, :, joint - 1], dim=-1, keepdim=True)
            seated[:, :, joint] = (
                seated[:, :, joint - 1] + torch.nn.functional.normalize(way, dim=-1) * length
            )
    return seated


def _tilted(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Each window turned any way around its first root: lying, leaning, upside down."""
    rotation, _ = torch.linalg.qr(torch.randn(len(xyz), 3, 3, generator=generator))
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]  # no mirror images
    root = xyz[:, :1, :1]
    return (xyz - root) @ rotation[:, None] + root
