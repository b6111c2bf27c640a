"""Random cameras around moving people: webcams to surveillance, near to far, with true perspective."""

from dataclasses import dataclass

import torch
from torch import Tensor

_SIZES_WH = ((1280, 720), (1280, 960), (1000, 1000), (720, 1280), (960, 1280))
NEAR_M = 0.5  # nothing comes closer to a camera than this


@dataclass(frozen=True, slots=True)
class View:
    """What cameras see: xyz (B, F, J, 3) metres in camera axes, focal_px (B,), size_wh (B, 2), k1 (B,)."""

    xyz: Tensor
    focal_px: Tensor
    size_wh: Tensor
    k1: Tensor

    def project(self, xyz: Tensor) -> Tensor:
        """Pixels (B, F, J, 2) of points (B, F, J, 3) in camera axes, with the lens's barrel distortion."""
        plane = xyz[..., :2] / xyz[..., 2:].clamp(min=0.1)
        radius = plane.square().sum(dim=-1, keepdim=True).clamp(max=1.0)
        plane = plane * (1 + self.k1[:, None, None, None] * radius)
        return plane * self.focal_px[:, None, None, None] + self.size_wh[:, None, None] / 2


def film(xyz: Tensor, generator: torch.Generator) -> View:
    """Put each window (B, F, J, 3), z up, before a camera of its own."""
    windows, frames = xyz.shape[:2]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(windows, generator=generator)

    def normal(mean: float, deviation: float) -> Tensor:
        return mean + deviation * torch.randn(windows, generator=generator)

    size_wh = torch.tensor(_SIZES_WH, dtype=torch.float32)[
        torch.randint(len(_SIZES_WH), (windows,), generator=generator)
    ]
    longer = size_wh.amax(dim=1)
    focal_px = longer * torch.exp(normal(-0.1, 0.35).clamp(-0.75, 0.9))
    # How much of the image's height a standing adult fills: from small to a head and shoulders.
    filled = torch.exp(uniform(-1.7, 0.9))
    distance = (focal_px * 1.7 / (filled * size_wh[:, 1])).clamp(0.9, 20.0)
    kind = uniform(0, 1)
    elevation = torch.where(
        kind < 0.7, normal(0.08, 0.17), torch.where(kind < 0.92, uniform(0.0, 0.95), uniform(-0.5, 0.0))
    )
    azimuth, roll = uniform(-torch.pi, torch.pi), normal(0, 0.06)
    roll = torch.where(uniform(0, 1) < 0.08, uniform(-0.5, 0.5), roll)

    # The frame at which the person stands where the camera was pointed; a few cameras follow them.
    anchor = xyz[torch.arange(windows), (uniform(0, 1) * (frames - 1)).long(), 0]
    follows = (uniform(0, 1) < 0.15)[:, None, None]
    path = torch.where(follows, xyz[:, :, 0], anchor[:, None])  # (B, F, 3)
    seen = (xyz - path[:, :, None]) @ _looking(azimuth, elevation)[:, None].transpose(-1, -2)
    distance = torch.maximum(distance, NEAR_M - seen[..., 2].flatten(1).amin(dim=1))
    seen = seen + torch.stack([torch.zeros_like(distance)] * 2 + [distance], dim=-1)[:, None, None]

    # Where in the image: anywhere while small; when too large for it, rather head and chest than legs.
    spare = (1 - filled).clamp(min=0.0)[:, None]
    place = torch.stack([uniform(-0.42, 0.42), uniform(-0.5, 0.5) * spare[:, 0]], dim=-1) * size_wh
    place[:, 1] += size_wh[:, 1] * (0.45 * (filled - 0.9)).clamp(0.0, 0.55) * uniform(0.3, 1.0)
    rotation = _roll(roll) @ _ahead_to(place / focal_px[:, None])
    distorted = uniform(0, 1) < 0.4
    k1 = torch.where(distorted, uniform(-0.18, 0.04), torch.zeros_like(roll))
    return View(seen @ rotation[:, None].transpose(-1, -2), focal_px, size_wh, k1)


def _looking(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Rotation (B, 3, 3) from z-up axes to those of a camera looking down at the origin by `elevation`."""
    ca, sa, ce, se = azimuth.cos(), azimuth.sin(), elevation.cos(), elevation.sin()
    right = torch.stack([-sa, ca, torch.zeros_like(ca)], dim=-1)
    ahead = torch.stack([-ca * ce, -sa * ce, -se], dim=-1)
    return torch.stack([right, torch.linalg.cross(ahead, right), ahead], dim=1)


def _roll(angle: Tensor) -> Tensor:
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))


def _ahead_to(place: Tensor) -> Tensor:
    """Rotation (B, 3, 3) that a camera makes so that what was straight ahead appears at `place` (B, 2).

    It pans, then tilts, as a camera on a stand does; place is on the image plane at focal length 1.
    """
    pan, tilt = (
        torch.atan(place[:, 0]),
        torch.atan(place[:, 1] / torch.hypot(place[:, 0], torch.ones_like(place[:, 0]))),
    )
    cp, sp, ct, st = pan.cos(), pan.sin(), tilt.cos(), tilt.sin()
    zero, one = torch.zeros_like(cp), torch.ones_like(cp)
    turn = torch.stack([cp, zero, sp, zero, one, zero, -sp, zero, cp], dim=-1).unflatten(-1, (3, 3))
    nod = torch.stack([one, zero, zero, zero, ct, st, zero, -st, ct], dim=-1).unflatten(-1, (3, 3))
    return turn @ nod
