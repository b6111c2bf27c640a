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

# How much a joint says about where the person is: the trunk, and a little of the rest when it is hidden.
_TRUNK = (1.0, 1.0, 0.05, 0.02, 1.0, 0.05, 0.02, 1.0, 1.0, 0.1, 0.1, 1.0, 0.05, 0.02, 1.0, 0.05, 0.02)
# Pairs of joints and their mean distance in metres in an adult; they say how large the person appears.
_SPANS = (
    (1, 2, 0.41), (2, 3, 0.43), (4, 5, 0.41), (5, 6, 0.43),
    (11, 12, 0.29), (12, 13, 0.23), (14, 15, 0.29), (15, 16, 0.23),
    (1, 14, 0.51), (4, 11, 0.51), (8, 10, 0.27),
)  # fmt: skip


class Spec(Protocol):
    """What normalising needs to know of a lifter."""

    @property
    def normalise(self) -> str: ...
    @property
    def in_channels(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What `decode` needs: rotation (B, F, 3, 3) from camera axes to the network's, or None for none.

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
    """
    if keypoints.ndim != 4 or keypoints.shape[-1] != 3 or size_wh.shape != (len(keypoints), 2):
        raise ShapeError(
            f"keypoints: expected (B, F, J, 3) with size_wh (B, 2), "
            f"got {tuple(keypoints.shape)} and {tuple(size_wh.shape)}"
        )
    if spec.normalise in ("screen", "image"):
        xy, context = screen(keypoints, size_wh), Context(metric=spec.normalise == "screen")
    elif spec.normalise == "person":
        xy, rotation = _person(keypoints, size_wh, focal_px)
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
        ends, starts = zip(*SIZE_BONES, strict=True)
        differ = _take(poses, ends) - _take(poses, starts)
        bones = torch.linalg.vector_norm(differ, dim=-1)  # (B, F, bones)
        poses = poses * (SIZE_M / bones.sum(dim=2).mean(dim=1).clamp(min=1e-6))[:, None, None, None]
    if context.rotation is None:
        return poses
    return poses @ context.rotation  # rows are vectors: x R = (R^T x^T)^T


def to_network_axes(poses: Tensor, context: Context) -> Tensor:
    """The inverse of `decode`: what a network should answer for root-relative poses in camera axes."""
    return poses if context.rotation is None else poses @ context.rotation.transpose(-1, -2)


def screen(keypoints: Tensor, size_wh: Tensor) -> Tensor:
    """Keypoints (B, F, J, 2) in units of half the image's width, 0, 0 in its centre."""
    width, height = size_wh[:, 0, None, None], size_wh[:, 1, None, None]
    x = keypoints[..., 0] / width * 2 - 1
    y = keypoints[..., 1] / width * 2 - height / width
    return torch.stack([x, y], dim=-1)


def _person(keypoints: Tensor, size_wh: Tensor, focal_px: Tensor | None) -> tuple[Tensor, Tensor]:
    if focal_px is None:
        focal_px = ASSUMED_FOCAL * size_wh.amax(dim=1)
    score = keypoints[..., 2].clamp(0, 1)  # (B, F, J)
    rays = (keypoints[..., :2] - size_wh[:, None, None] / 2) / focal_px[:, None, None, None]
    rotation = _towards(_centre(rays, score))  # (B, F, 3, 3)
    turned = torch.cat([rays, torch.ones_like(rays[..., :1])], dim=-1) @ rotation.transpose(-1, -2)
    xy = turned[..., :2] / turned[..., 2:].clamp(min=0.2)
    xy = (xy / _apparent_size(xy, score)).clamp(-LIMIT, LIMIT)
    # A joint that no frame has seen has no place; its filling must not look like one.
    return xy * (score.amax(dim=1, keepdim=True) > 0)[..., None], rotation


def _centre(rays: Tensor, score: Tensor) -> Tensor:
    """Where the trunk is on the image plane at focal length 1, (B, F, 2), smooth in time."""
    weight = (
        score * _constant(_TRUNK, rays.device) + 1e-4
    )  # (B, F, J); the rest keeps an empty window defined
    smooth = _gaussian(rays.shape[1], _CENTRE_FRAMES, rays.device)
    total = smooth @ (rays * weight[..., None]).sum(dim=2)
    return total / (smooth @ weight.sum(dim=2, keepdim=True))


def _apparent_size(xy: Tensor, score: Tensor) -> Tensor:
    """Image-plane units per metre at the person, (B, F, 1, 1), smooth in time."""
    first, second, lengths = zip(*_SPANS, strict=True)
    metres = _constant(lengths, xy.device)
    ratio = torch.linalg.vector_norm(_take(xy, first) - _take(xy, second), dim=-1) / metres  # (B, F, S)
    weight = torch.minimum(_take(score, first), _take(score, second)).square()
    typical = ratio.masked_fill(weight < 0.04, torch.nan).flatten(1).nanmedian(dim=1).values
    typical = typical.nan_to_num(nan=0.3).clamp(min=1e-3)[:, None, None]
    ratio = ratio.clamp(max=2.5 * typical)  # an outlier makes a bone long, never short
    weight, squares = weight * metres.square(), ratio.square()
    smooth = _gaussian(xy.shape[1], _SIZE_FRAMES, xy.device)
    total = smooth @ (weight * squares).sum(dim=2, keepdim=True) + 1e-4 * typical.square()
    return (total / (smooth @ weight.sum(dim=2, keepdim=True) + 1e-4)).clamp(min=1e-8).sqrt()[..., None]


def _towards(centre: Tensor) -> Tensor:
    """Smallest rotation (..., 3, 3) that turns the ray (x, y, 1) of centre (..., 2) straight ahead."""
    ray = torch.nn.functional.normalize(torch.cat([centre, torch.ones_like(centre[..., :1])], -1), dim=-1)
    x, y, z = ray.unbind(-1)
    k = 1 / (1 + z)
    rows = (1 - k * x * x, -k * x * y, -x, -k * x * y, 1 - k * y * y, -y, x, y, z)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _take(x: Tensor, joints: tuple[int, ...]) -> Tensor:
    """Some joints of x (B, F, J, ...)."""
    return x.index_select(2, _constant(joints, x.device))


# Kept on the device: a copy from the host would hold up a GPU at every call, and a recorded graph has no
# place for it. Kept as normal tensors, for training may come after inference in one process.
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device: int64 if all are, else float32."""
    return torch.tensor(values, device=device)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _gaussian(frames: int, deviation: float, device: torch.device) -> Tensor:
    """Weights (F, F) of every frame in the smoothed value of every frame; rows add up to 1."""
    time = torch.arange(frames, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((time[:, None] - time[None]) / deviation).square())
    return (weights / weights.sum(dim=1, keepdim=True)).to(device)
