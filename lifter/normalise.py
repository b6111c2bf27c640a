"""Turns pixels into what a lifter reads and its answer into metres: the same code live and in training.

Three conventions. "screen" is the paper's: x / w * 2 - 1, y / w * 2 - h / w, and poses come in metres
and camera axes. "image" reads the same and answers in those same units, as MotionBERT does; metres
come from taking the person for an average adult. "person" is ours: a virtual camera follows the
person, so that neither the place in the image, nor the distance, nor a crop changes what a small
network sees.

The person convention, per frame: where the trunk is (a mean over joints weighted by score, smoothed
over time) gives a viewing ray, with a focal length that is assumed where none is known; the rays
of all joints are rotated so that this one points straight ahead; they are divided by the apparent
size of the person (2D bone lengths against those of an average adult, smoothed over a longer time),
which makes one unit about one metre at the person's depth. Poses are predicted in the axes of
that virtual camera, for a person of average size, and rotated back here. All weights fade with the
score, and all statistics are local in time: nothing jumps when the window moves on by a frame.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from lifter.spec import ASSUMED_FOCAL
from stream.errors import ConfigError, ShapeError

LIMIT = 3.0  # inputs of the person convention are held within +- this many units
# Joints whose bones (to their parents) add up to the size of a person, and that size in an average adult.
SIZE_BONES = ((2, 1), (3, 2), (5, 4), (6, 5), (7, 0), (8, 7), (12, 11), (13, 12), (15, 14), (16, 15))
SIZE_M = 3.25
_CENTRE_FRAMES, _SIZE_FRAMES = 8.0, 30.0  # standard deviations of the smoothing in time
_NEAR = 1.5  # moves nearness to about 0: the logarithm of the apparent size of a person 4.5 m away

# How much a joint says about where the person is: the trunk, and a little of the rest when it is hidden.
_TRUNK = (1.0, 1.0, 0.05, 0.02, 1.0, 0.05, 0.02, 1.0, 1.0, 0.1, 0.1, 1.0, 0.05, 0.02, 1.0, 0.05, 0.02)
_EVEN_UNSEEN = 1e-4  # what a joint says about it without any score, so that an empty window is defined
# Pairs of joints and their mean distance in metres in an adult; they say how large the person appears.
_SPANS = (
    (1, 2, 0.41), (2, 3, 0.43), (4, 5, 0.41), (5, 6, 0.43),
    (11, 12, 0.29), (12, 13, 0.23), (14, 15, 0.29), (15, 16, 0.23),
    (1, 14, 0.51), (4, 11, 0.51), (8, 10, 0.27),
)  # fmt: skip
_FIRST, _SECOND, _METRES = zip(*_SPANS, strict=True)
_AREAS = tuple(metres**2 for metres in _METRES)
_FLIP = (1.0, 1.0, -1.0)  # G of `Context`


class Spec(Protocol):
    """What normalising needs to know of a lifter."""

    @property
    def normalise(self) -> str: ...
    @property
    def in_channels(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What `decode` needs: the rotation from camera axes to the network's, or None for none.

    rotation: m (B, F, 3) of R = G (I - m m^T), G = diag(1, 1, -1): a mirror, and depth turned around.
    metric: the network answers in metres; otherwise the person is scaled to an average adult.
    """

    rotation: Tensor | None = None
    metric: bool = True

    def of(self, rows: slice) -> "Context":
        """The context of some rows of the window; without metres it takes all rows to know the scale."""
        return self if self.rotation is None else Context(self.rotation[:, rows], self.metric)


def encode(
    keypoints: Tensor, size_wh: Tensor, spec: Spec, focal_px: Tensor | None = None
) -> tuple[Tensor, Context]:
    """Network input (B, F, J, in_channels) float32 and the context that decodes its answer.

    keypoints (B, F, J, 3) float32: x px, y px, score; size_wh (B, 2) px; focal_px (B,) or None.
    in_channels: 2 for x, y; 3 with the score; 4, of the person convention, with how near the person is.
    """
    if keypoints.ndim != 4 or keypoints.shape[-1] != 3 or size_wh.shape != (len(keypoints), 2):
        raise ShapeError(
            f"keypoints: expected (B, F, J, 3) with size_wh (B, 2), "
            f"got {tuple(keypoints.shape)} and {tuple(size_wh.shape)}"
        )
    if spec.normalise in ("screen", "image"):
        xy, context = screen(keypoints, size_wh), Context(metric=spec.normalise == "screen")
    elif spec.normalise == "person":
        xy, near, rotation = _person(keypoints, size_wh, focal_px)
        if spec.in_channels == 4:
            near = near[..., None, None].expand(*xy.shape[:3], 1)
            return torch.cat([xy, keypoints[..., 2:], near], dim=-1), Context(rotation)
        context = Context(rotation)
    else:
        raise ConfigError(f"normalise: expected 'screen', 'image' or 'person', got {spec.normalise!r}")
    if spec.in_channels == 2:
        return xy, context
    return torch.cat([xy, keypoints[..., 2:]], dim=-1), context


def decode(poses: Tensor, context: Context) -> Tensor:
    """Poses (B, F, J, 3) float32 in metres, root-relative, camera axes, from a network's answer."""
    poses = poses - poses[:, :, :1]
    if not context.metric:
        ends, starts = (_constant(joints, poses.device) for joints in zip(*SIZE_BONES, strict=True))
        differ = poses.index_select(2, ends) - poses.index_select(2, starts)
        bones = torch.linalg.vector_norm(differ, dim=-1)  # (B, F, bones)
        poses = poses * (SIZE_M / bones.sum(dim=2).mean(dim=1).clamp(min=1e-6))[:, None, None, None]
    if context.rotation is None:
        return poses
    return _mirrored(poses * _constant(_FLIP, poses.device), context.rotation)


def to_network_axes(poses: Tensor, context: Context) -> Tensor:
    """The inverse of `decode`: what a network should answer for root-relative poses in camera axes."""
    if context.rotation is None:
        return poses
    return _mirrored(poses, context.rotation) * _constant(_FLIP, poses.device)


def _mirrored(poses: Tensor, mirror: Tensor) -> Tensor:
    """(I - m m^T) p of every p in (B, F, J, 3), with m (B, F, 3)."""
    mirror = mirror[:, :, None]
    return torch.addcmul(poses, (poses * mirror).sum(dim=-1, keepdim=True), mirror, value=-1)


def screen(keypoints: Tensor, size_wh: Tensor) -> Tensor:
    """Keypoints (B, F, J, 2) in units of half the image's width, 0, 0 in its centre."""
    width, height = size_wh[:, 0, None, None], size_wh[:, 1, None, None]
    x = keypoints[..., 0] / width * 2 - 1
    y = keypoints[..., 1] / width * 2 - height / width
    return torch.stack([x, y], dim=-1)


def _person(keypoints: Tensor, size_wh: Tensor, focal_px: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Keypoints (B, F, J, 2) of the person convention, nearness (B, F), the rotation (B, F, 3) of `Context`.

    Nearness is the logarithm of the apparent size: how strong the perspective is.

    Channels and joints come first inside: few operations, each on rows of all windows' frames.
    """
    if focal_px is None:
        focal_px = ASSUMED_FOCAL * size_wh.amax(dim=1)
    rays = keypoints.permute(3, 2, 0, 1).clone(memory_format=torch.contiguous_format)  # (3, J, B, F)
    score = rays[2].clamp(0, 1)  # (J, B, F)
    rays[:2].sub_(size_wh.mT[:, None, :, None] / 2).div_(focal_px[:, None])
    rays[2] = 1
    mirror = _towards(_centre(rays, score))  # (3, B, F)
    mirrored = torch.addcmul(rays, (rays * mirror[:, None]).sum(dim=0), mirror[:, None], value=-1)
    xy = mirrored[:2] / mirrored[2].neg().clamp(min=0.2)  # (2, J, B, F)
    # A joint that no frame has seen has no place; its filling must not look like one.
    seen = score.amax(dim=2, keepdim=True) > 0  # (J, B, 1)
    per_metre = _per_metre(xy, score)
    xy = (xy * (per_metre * seen)).clamp(-LIMIT, LIMIT)
    near = (_NEAR - per_metre.log()).clamp(-LIMIT, LIMIT)
    return xy.permute(2, 3, 1, 0), near, mirror.permute(1, 2, 0)


def _centre(rays: Tensor, score: Tensor) -> Tensor:
    """Rays (3, B, F) of any length to where the trunk is, smooth in time; rays (3, J, B, F) of depth 1."""
    least, trunk = _column((_EVEN_UNSEEN,), rays.device), _column(_TRUNK, rays.device)
    weight = torch.addcmul(least, score, trunk)  # (J, B, F)
    return (rays * weight).sum(dim=1) @ _gaussian(rays.shape[3], _CENTRE_FRAMES, rays.device)


def _towards(ray: Tensor) -> Tensor:
    """m (3, B, F) of the smallest rotation G (I - m m^T) that turns rays (3, B, F) straight ahead."""
    middle = ray.clone()
    middle[2] += ray.square().sum(dim=0).sqrt()  # halfway between the ray and the axis
    return middle * (middle.square().sum(dim=0) / 2).rsqrt()


def _per_metre(xy: Tensor, score: Tensor) -> Tensor:
    """What makes image-plane units metres at the person, (B, F), smooth in time; xy (2, J, B, F)."""
    first, second = _constant(_FIRST, xy.device), _constant(_SECOND, xy.device)
    area = _column(_AREAS, xy.device)  # all here is squared: that takes no roots
    ratio = (xy.index_select(1, first) - xy.index_select(1, second)).square().sum(dim=0) / area  # (S, B, F)
    weight = torch.minimum(score.index_select(0, first), score.index_select(0, second)).square()
    typical = ratio.masked_fill(weight < 0.04, torch.nan).transpose(0, 1).flatten(1).nanmedian(dim=1).values
    typical = typical.nan_to_num(nan=0.09).clamp(min=1e-6)[:, None]  # (B, 1)
    weight = weight * area
    total = weight * torch.minimum(ratio, 6.25 * typical)  # an outlier makes a bone long, never short
    smooth = _gaussian(xy.shape[3], _SIZE_FRAMES, xy.device)
    total, weight = torch.stack([total.sum(dim=0), weight.sum(dim=0)]) @ smooth
    return ((total + 1e-4 * typical) / (weight + 1e-4)).clamp(min=1e-8).rsqrt()


# Kept on the device: a copy from the host would hold up a GPU at every call, and a recorded graph has no
# place for it. Kept as normal tensors, for training may come after inference in one process.
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers (N,) on a device: int64 if all are, else float32."""
    return torch.tensor(values, device=device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers (N, 1, 1) on a device."""
    return torch.tensor(values, device=device)[:, None, None]


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _gaussian(frames: int, deviation: float, device: torch.device) -> Tensor:
    """Weights (F, F) of every frame (rows) in the smoothed value of each (columns, which add up to 1)."""
    time = torch.arange(frames, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((time[:, None] - time[None]) / deviation).square())
    return (weights / weights.sum(dim=0)).to(device)
