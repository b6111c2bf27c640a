"""Postures that motion capture has too few of: mixed limbs, sitting, bending, reaching, lying."""

import torch
from torch import Tensor

from lifter.synthesis.detector_noise import smooth

_LEGS = (1, 2, 3, 4, 5, 6)
_UPPER = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
_ARMS = ((11, 12, 13), (14, 15, 16))


def vary(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Windows (B, F, 19, 3), z up, of which some got other legs, a seat or another way up."""
    chance = torch.rand(5, len(xyz), generator=generator)
    xyz = _where(chance[0] < 0.25, _combined(xyz), xyz)
    xyz = _where(chance[1] < 0.1, _seated(xyz, generator), xyz)
    xyz = _where(chance[3] < 0.08, _bent(xyz, generator), xyz)
    xyz = _where(chance[4] < 0.12, _reaching(xyz, generator), xyz)
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


def _bent(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """The upper body of each window bent forward at the hips, from a little to all the way."""
    windows, frames = xyz.shape[:2]
    held = 1.9 * torch.rand(windows, 1, 1, generator=generator)
    angle = held + 0.25 * smooth(torch.randn(windows, frames, 1, generator=generator), 20.0)
    across = torch.nn.functional.normalize(xyz[:, :, 1] - xyz[:, :, 4], dim=-1)
    return _turned(xyz, _UPPER, 0, -angle * across)


def _reaching(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Each arm turned about its shoulder, some way or other, and moving."""
    windows, frames = xyz.shape[:2]
    for arm in _ARMS:
        held = 0.7 * torch.randn(windows, 1, 3, generator=generator)
        moving = 0.25 * smooth(torch.randn(windows, frames, 3, generator=generator), 15.0)
        xyz = _turned(xyz, arm, arm[0], held + moving)
    return xyz


def _turned(xyz: Tensor, joints: tuple[int, ...], pivot: int, turn: Tensor) -> Tensor:
    """Some joints turned about another one by rotation vectors `turn` (B, F, 3) (Rodrigues)."""
    angle = torch.linalg.vector_norm(turn, dim=-1, keepdim=True).clamp(min=1e-6)
    axis, cos, sin = (turn / angle)[:, :, None], angle.cos()[:, :, None], angle.sin()[:, :, None]
    away = xyz[:, :, joints] - xyz[:, :, pivot, None]
    along = (away * axis).sum(dim=-1, keepdim=True) * axis
    moved = xyz.clone()
    moved[:, :, joints] = (
        xyz[:, :, pivot, None] + along + cos * (away - along) + sin * torch.linalg.cross(axis, away)
    )
    return moved


def _tilted(xyz: Tensor, generator: torch.Generator) -> Tensor:
    """Each window turned any way around its first root: lying, leaning, upside down."""
    rotation, _ = torch.linalg.qr(torch.randn(len(xyz), 3, 3, generator=generator))
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]  # no mirror images
    root = xyz[:, :1, :1]
    return (xyz - root) @ rotation[:, None] + root
