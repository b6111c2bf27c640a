"""Random cameras around moving people: from webcams to surveillance, near and far, with true perspective.

The pinhole projection and the look-at rotation are those of `stream.cameras` and `stream.rotations`, but
on torch tensors and for a batch of cameras, which training needs for thousands of windows a second.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lifter.normalise import constant
from lifter.synthesis.noise import WindowRandom

_WIDTHS_PX, _HEIGHTS_PX = (1280.0, 1280.0, 1000.0, 720.0, 960.0), (720.0, 960.0, 1000.0, 1280.0, 1280.0)
MIN_DEPTH_M = 0.5  # distance of the nearest joint from the camera
_ADULT_M = 1.7


@dataclass(frozen=True, slots=True)
class View:
    """People in the axes of B cameras, and the intrinsics of those cameras.

    xyz (B, F, J, 3) float32 metres, x right, y down, z forward; focal_px (B,); size_wh (B, 2) px; k1 (B,)
    first coefficient of radial distortion. The principal point is the centre of the image.
    """

    xyz: Tensor
    focal_px: Tensor
    size_wh: Tensor
    k1: Tensor

    def project(self, xyz: Tensor) -> Tensor:
        """Pixels (B, F, J, 2) of points (B, F, J, 3) in camera axes, with radial distortion.

        Depths below 0.1 m count as 0.1 m, and the distortion does not grow beyond radius 1.
        """
        plane = xyz[..., :2] / xyz[..., 2:].clamp(min=0.1)
        radius_squared = plane.square().sum(dim=-1, keepdim=True).clamp(max=1.0)
        plane = plane * (1 + self.k1[:, None, None, None] * radius_squared)
        return plane * self.focal_px[:, None, None, None] + self.size_wh[:, None, None] / 2


def random_views(xyz: Tensor, generator: torch.Generator) -> View:
    """Views of windows (B, F, J, 3) in metres with z up, each by a random camera of its own."""
    random = WindowRandom(len(xyz), generator)
    size_index = torch.randint(len(_WIDTHS_PX), (len(xyz),), generator=generator)
    sides = constant(_WIDTHS_PX, xyz.device)[size_index], constant(_HEIGHTS_PX, xyz.device)[size_index]
    size_wh = torch.stack(sides, dim=1)
    focal_px = size_wh.amax(dim=1) * torch.exp((-0.1 + 0.35 * random.normal()).clamp(-0.75, 0.9))
    # The share of the image's height that a standing adult fills: from small to head and shoulders.
    filled = torch.exp(random.uniform(-1.7, 0.9))
    distance_m = (focal_px * _ADULT_M / (filled * size_wh[:, 1])).clamp(0.9, 20.0)
    centred, roll = _point_at_people(xyz, distance_m, random)
    offset_px = _image_offset_px(filled, size_wh, random)
    rotation = _roll(roll) @ _pan_and_tilt(offset_px / focal_px[:, None])
    distorted = random.uniform(0, 1) < 0.4
    k1 = torch.where(distorted, random.uniform(-0.18, 0.04), torch.zeros_like(roll))
    return View(centred @ rotation[:, None].transpose(-1, -2), focal_px, size_wh, k1)


def _point_at_people(xyz: Tensor, distance_m: Tensor, random: WindowRandom) -> tuple[Tensor, Tensor]:
    """Joints (B, F, J, 3) in the axes of cameras that look at the people, and roll angles (B,) for later."""
    windows, frames = xyz.shape[:2]
    kind = random.uniform(0, 1)
    level, above, below = 0.08 + 0.17 * random.normal(), random.uniform(0.0, 0.95), random.uniform(-0.5, 0.0)
    elevation = torch.where(kind < 0.7, level, torch.where(kind < 0.92, above, below))
    azimuth, roll = random.uniform(-torch.pi, torch.pi), 0.06 * random.normal()
    roll = torch.where(random.uniform(0, 1) < 0.08, random.uniform(-0.5, 0.5), roll)
    # Most cameras point at the person's position in one frame; a few follow the person.
    anchor = xyz[torch.arange(windows), (random.uniform(0, 1) * (frames - 1)).long(), 0]
    follows = (random.uniform(0, 1) < 0.15)[:, None, None]
    target = torch.where(follows, xyz[:, :, 0], anchor[:, None])  # (B, F, 3)
    centred = (xyz - target[:, :, None]) @ _look_at(azimuth, elevation)[:, None].transpose(-1, -2)
    distance_m = torch.maximum(distance_m, MIN_DEPTH_M - centred[..., 2].flatten(1).amin(dim=1))
    zero = torch.zeros_like(distance_m)
    return centred + torch.stack([zero, zero, distance_m], dim=-1)[:, None, None], roll


def _image_offset_px(filled: Tensor, size_wh: Tensor, random: WindowRandom) -> Tensor:
    """Where people are in the image, (B, 2) px from its centre.

    Small people are anywhere; people larger than the image are cut at the legs more often than at the head.
    """
    free = (1 - filled).clamp(min=0.0)
    x, y = random.uniform(-0.42, 0.42), random.uniform(-0.5, 0.5) * free
    offset_px = torch.stack([x, y], dim=-1) * size_wh
    offset_px[:, 1] += size_wh[:, 1] * (0.45 * (filled - 0.9)).clamp(0.0, 0.55) * random.uniform(0.3, 1.0)
    return offset_px


def _look_at(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Rotation (B, 3, 3) from z-up axes to those of cameras that look at the origin, down by `elevation`."""
    ca, sa, ce, se = azimuth.cos(), azimuth.sin(), elevation.cos(), elevation.sin()
    right = torch.stack([-sa, ca, torch.zeros_like(ca)], dim=-1)
    forward = torch.stack([-ca * ce, -sa * ce, -se], dim=-1)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)


def _roll(angle: Tensor) -> Tensor:
    """Rotation (B, 3, 3) about the viewing axis."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1).view(-1, 3, 3)


def _pan_and_tilt(plane: Tensor) -> Tensor:
    """Rotation (B, 3, 3) that moves the image centre to `plane` (B, 2), at focal length 1.

    The camera pans, then tilts, as on a stand.
    """
    x, y = plane.unbind(dim=1)
    pan, tilt = torch.atan(x), torch.atan(y / torch.hypot(x, torch.ones_like(x)))
    cp, sp, ct, st = pan.cos(), pan.sin(), tilt.cos(), tilt.sin()
    zero, one = torch.zeros_like(cp), torch.ones_like(cp)
    panned = torch.stack([cp, zero, sp, zero, one, zero, -sp, zero, cp], dim=-1).view(-1, 3, 3)
    tilted = torch.stack([one, zero, zero, zero, ct, st, zero, -st, ct], dim=-1).view(-1, 3, 3)
    return panned @ tilted
