"""Pixels to network input, and network output to metres: the same code live and in training.

| normalise | input                                | output                                               |
|-----------|--------------------------------------|------------------------------------------------------|
| "screen"  | x / w * 2 - 1, y / w * 2 - h / w     | metres in camera axes (the paper's convention)       |
| "image"   | the same                             | the same units, scaled to an adult (MotionBERT)      |
| "person"  | a virtual camera follows the person  | metres in the axes of that camera, rotated back here |

The person convention is this project's own. It removes the position in the image, the distance and
the crop from the input of a small network. Per frame:

1. The mean of the trunk joints, weighted by score and smoothed over time, gives a viewing ray. The
   focal length is assumed where it is unknown.
2. The rays of all joints are rotated so that this viewing ray points straight ahead.
3. They are divided by the apparent size of the person (2D bone lengths against those of an average
   adult, smoothed over a longer time), so that one unit is about one metre at the person's depth.

All weights fade with the score and all statistics are local in time, so no value jumps when the
window advances by a frame.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from lifter.spec import ASSUMED_FOCAL
from stream.errors import ConfigError, ShapeError

MAX_INPUT = 3.0  # inputs of the person convention are clamped to +- this many units
# (joint, parent) of the bones whose lengths sum to the size of a person, and that size in an average adult.
SIZE_BONES = ((2, 1), (3, 2), (5, 4), (6, 5), (7, 0), (8, 7), (12, 11), (13, 12), (15, 14), (16, 15))
SIZE_M = 3.25
CENTRE_SMOOTHING_FRAMES, SIZE_SMOOTHING_FRAMES = 8.0, 30.0  # standard deviations in time
# Added to the logarithm of the apparent size, so that nearness is about 0 for a person 4.5 m away.
NEARNESS_OFFSET = 1.5

# Weight of each joint in the person's centre: the trunk, and a little of the rest when the trunk is hidden.
CENTRE_WEIGHTS = (1.0, 1.0, 0.05, 0.02, 1.0, 0.05, 0.02, 1.0, 1.0, 0.1, 0.1, 1.0, 0.05, 0.02, 1.0, 0.05, 0.02)
MIN_JOINT_WEIGHT = 1e-4  # weight of a joint with score 0, so that a window without scores has a centre
# Pairs of joints and their mean distance in metres in an adult, from which the apparent size follows.
_SIZE_PAIRS = (
    (1, 2, 0.41), (2, 3, 0.43), (4, 5, 0.41), (5, 6, 0.43),
    (11, 12, 0.29), (12, 13, 0.23), (14, 15, 0.29), (15, 16, 0.23),
    (1, 14, 0.51), (4, 11, 0.51), (8, 10, 0.27),
)  # fmt: skip
_PAIR_STARTS, _PAIR_ENDS, _PAIR_LENGTHS_M = zip(*_SIZE_PAIRS, strict=True)
_PAIR_LENGTHS_M2 = tuple(length**2 for length in _PAIR_LENGTHS_M)
_FLIP_DEPTH = (1.0, 1.0, -1.0)  # G of `NormalisationContext`


class InputFormat(Protocol):
    """The part of a lifter's spec that `encode` reads."""

    @property
    def normalise(self) -> str: ...
    @property
    def in_channels(self) -> int: ...


@dataclass(frozen=True, slots=True)
class NormalisationContext:
    """What `decode` needs besides the network's output.

    reflection: m (B, F, 3) of the rotation R = G (I - m m^T) from camera axes to the network's, with
    G = diag(1, 1, -1): a reflection, then depth negated. None for no rotation.
    metric: True if the network's output is in metres; False if it is scaled to an average adult.
    """

    reflection: Tensor | None = None
    metric: bool = True

    def select(self, rows: slice) -> "NormalisationContext":
        """The context of some rows of the window; only for metric output, whose scale is per frame."""
        if self.reflection is None:
            return self
        return NormalisationContext(self.reflection[:, rows], self.metric)


def encode(
    keypoints: Tensor, size_wh: Tensor, spec: InputFormat, focal_px: Tensor | None = None
) -> tuple[Tensor, NormalisationContext]:
    """Network input (B, F, J, in_channels) float32 and the context that decodes its output.

    keypoints (B, F, J, 3) float32: x px, y px, score; size_wh (B, 2) px; focal_px (B,) or None.
    in_channels: 2 for x, y; 3 with the score; 4, of the person convention, with the nearness.
    Raises ShapeError for other shapes and ConfigError for an unknown convention.
    """
    if keypoints.ndim != 4 or keypoints.shape[-1] != 3 or size_wh.shape != (len(keypoints), 2):
        raise ShapeError(
            f"keypoints: expected (B, F, J, 3) with size_wh (B, 2), "
            f"got {tuple(keypoints.shape)} and {tuple(size_wh.shape)}"
        )
    if spec.normalise in ("screen", "image"):
        xy, context = screen(keypoints, size_wh), NormalisationContext(metric=spec.normalise == "screen")
    elif spec.normalise == "person":
        xy, nearness, reflection = _person(keypoints, size_wh, focal_px)
        if spec.in_channels == 4:
            nearness = nearness[..., None, None].expand(*xy.shape[:3], 1)
            return torch.cat([xy, keypoints[..., 2:], nearness], dim=-1), NormalisationContext(reflection)
        context = NormalisationContext(reflection)
    else:
        raise ConfigError(f"normalise: expected 'screen', 'image' or 'person', got {spec.normalise!r}")
    if spec.in_channels == 2:
        return xy, context
    return torch.cat([xy, keypoints[..., 2:]], dim=-1), context


def decode(poses: Tensor, context: NormalisationContext) -> Tensor:
    """Poses (B, F, J, 3) float32 in metres, root-relative, camera axes, from the network's output."""
    poses = poses - poses[:, :, :1]
    if not context.metric:
        ends, starts = (constant(joints, poses.device) for joints in zip(*SIZE_BONES, strict=True))
        bones = poses.index_select(2, ends) - poses.index_select(2, starts)
        lengths = torch.linalg.vector_norm(bones, dim=-1)  # (B, F, bones)
        poses = poses * (SIZE_M / lengths.sum(dim=2).mean(dim=1).clamp(min=1e-6))[:, None, None, None]
    if context.reflection is None:
        return poses
    return _reflect(poses * constant(_FLIP_DEPTH, poses.device), context.reflection)


def to_network_axes(poses: Tensor, context: NormalisationContext) -> Tensor:
    """The inverse of `decode` for metric output: training targets from root-relative poses in camera axes."""
    if context.reflection is None:
        return poses
    return _reflect(poses, context.reflection) * constant(_FLIP_DEPTH, poses.device)


def _reflect(poses: Tensor, normal: Tensor) -> Tensor:
    """(I - m m^T) p of every p in (B, F, J, 3), with m = normal (B, F, 3)."""
    normal = normal[:, :, None]
    return torch.addcmul(poses, (poses * normal).sum(dim=-1, keepdim=True), normal, value=-1)


def screen(keypoints: Tensor, size_wh: Tensor) -> Tensor:
    """Keypoints (B, F, J, 2) in units of half the image's width, (0, 0) at its centre."""
    width, height = size_wh[:, 0, None, None], size_wh[:, 1, None, None]
    x = keypoints[..., 0] / width * 2 - 1
    y = keypoints[..., 1] / width * 2 - height / width
    return torch.stack([x, y], dim=-1)


def _person(keypoints: Tensor, size_wh: Tensor, focal_px: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Keypoints (B, F, J, 2) of the person convention, nearness (B, F), reflection (B, F, 3).

    Nearness is the logarithm of the apparent size: the strength of the perspective. Channels and
    joints come first inside, so that few operations run on long rows of all windows' frames.
    """
    if focal_px is None:
        focal_px = ASSUMED_FOCAL * size_wh.amax(dim=1)
    rays = keypoints.permute(3, 2, 0, 1).clone(memory_format=torch.contiguous_format)  # (3, J, B, F)
    score = rays[2].clamp(0, 1)  # (J, B, F)
    rays[:2].sub_(size_wh.mT[:, None, :, None] / 2).div_(focal_px[:, None])
    rays[2] = 1
    normal = _reflection_to_axis(_centre(rays, score))  # (3, B, F)
    rotated = torch.addcmul(rays, (rays * normal[:, None]).sum(dim=0), normal[:, None], value=-1)
    xy = rotated[:2] / rotated[2].neg().clamp(min=0.2)  # (2, J, B, F)
    # A joint with score 0 in every frame is put at the centre: its filled-in position carries nothing.
    detected = score.amax(dim=2, keepdim=True) > 0  # (J, B, 1)
    metres_per_unit = _metres_per_unit(xy, score)
    xy = (xy * (metres_per_unit * detected)).clamp(-MAX_INPUT, MAX_INPUT)
    nearness = (NEARNESS_OFFSET - metres_per_unit.log()).clamp(-MAX_INPUT, MAX_INPUT)
    return xy.permute(2, 3, 1, 0), nearness, normal.permute(1, 2, 0)


def _centre(rays: Tensor, score: Tensor) -> Tensor:
    """Rays (3, B, F) of any length to the person's centre, smooth in time; rays (3, J, B, F) of depth 1."""
    minimum, weights = _column((MIN_JOINT_WEIGHT,), rays.device), _column(CENTRE_WEIGHTS, rays.device)
    weight = torch.addcmul(minimum, score, weights)  # (J, B, F)
    smooth = _gaussian(rays.shape[3], CENTRE_SMOOTHING_FRAMES, rays.device)
    centre: Tensor = (rays * weight).sum(dim=1) @ smooth
    return centre


def _reflection_to_axis(ray: Tensor) -> Tensor:
    """m (3, B, F) of the smallest rotation G (I - m m^T) that turns rays (3, B, F) straight ahead."""
    middle = ray.clone()
    middle[2] += ray.square().sum(dim=0).sqrt()  # halfway between the ray and the axis
    normal: Tensor = middle * (middle.square().sum(dim=0) / 2).rsqrt()
    return normal


def _metres_per_unit(xy: Tensor, score: Tensor) -> Tensor:
    """Metres at the person per image-plane unit, (B, F), smooth in time; xy (2, J, B, F)."""
    starts, ends = constant(_PAIR_STARTS, xy.device), constant(_PAIR_ENDS, xy.device)
    metres2 = _column(_PAIR_LENGTHS_M2, xy.device)  # squares throughout, which saves the roots
    ratio = (xy.index_select(1, starts) - xy.index_select(1, ends)).square().sum(dim=0) / metres2  # (S, B, F)
    weight = torch.minimum(score.index_select(0, starts), score.index_select(0, ends)).square()
    typical = ratio.masked_fill(weight < 0.04, torch.nan).transpose(0, 1).flatten(1).nanmedian(dim=1).values
    typical = typical.nan_to_num(nan=0.09).clamp(min=1e-6)[:, None]  # (B, 1)
    weight = weight * metres2
    total = weight * torch.minimum(ratio, 6.25 * typical)  # an outlier makes a bone long, never short
    smooth = _gaussian(xy.shape[3], SIZE_SMOOTHING_FRAMES, xy.device)
    total, weight = torch.stack([total.sum(dim=0), weight.sum(dim=0)]) @ smooth
    squared_units: Tensor = (total + 1e-4 * typical) / (weight + 1e-4)  # per square metre
    return squared_units.clamp(min=1e-8).rsqrt()


# Constants stay on the device: a copy from the host would stall a GPU at every call, and a CUDA graph
# cannot record it. They are normal tensors, not inference tensors, because training may follow
# inference in one process.
@lru_cache(maxsize=256)
@torch.inference_mode(False)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers (N,) on a device: int64 if all are integers, else float32."""
    return torch.tensor(values, device=device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers (N, 1, 1) on a device."""
    return torch.tensor(values, device=device)[:, None, None]


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _gaussian(frames: int, deviation: float, device: torch.device) -> Tensor:
    """Smoothing weights (F, F): column t holds the weight of every frame in frame t, with sum 1."""
    time = torch.arange(frames, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((time[:, None] - time[None]) / deviation).square())
    return (weights / weights.sum(dim=0)).to(device)
