"""What training minimises: the losses of MixSTE and MotionBERT with their weights, and ours for live use.

All take predictions and targets (B, F, J, 3) float32 in metres (or in the normalised units of
MotionBERT) and return a scalar. `total` adds up those a config names.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from stream.errors import ConfigError

# MixSTE, section 3.4: what moves more counts more.
JOINT_WEIGHTS = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)
# Bones of the 17 joints as pairs, and pairs of those that are the left and the right one of a limb.
LIMBS = (
    (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8),
    (8, 9), (9, 10), (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
)  # fmt: skip
_SIDES = ((0, 3), (1, 4), (2, 5), (10, 13), (11, 14), (12, 15))
_ANGLES = (
    (0, 3), (0, 6), (3, 6), (0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 10),
    (7, 13), (8, 13), (10, 13), (7, 8), (8, 9), (10, 11), (11, 12), (13, 14), (14, 15),
)  # fmt: skip
_NEWEST_FRAMES = 8.0


def mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of joints."""
    return torch.linalg.vector_norm(predicted - target, dim=-1).mean()


def weighted_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of joints, the ends of limbs weighing more."""
    return (predicted.new_tensor(JOINT_WEIGHTS) * torch.linalg.vector_norm(predicted - target, dim=-1)).mean()


def newest(predicted: Tensor, target: Tensor) -> Tensor:
    """Weighted distance of joints in the last frames, which live use reads."""
    age = torch.arange(predicted.shape[1] - 1, -1, -1, dtype=predicted.dtype, device=predicted.device)
    frames = torch.exp(-age / _NEWEST_FRAMES)
    distance = torch.linalg.vector_norm(predicted - target, dim=-1) * predicted.new_tensor(JOINT_WEIGHTS)
    return (distance.mean(dim=(0, 2)) * frames).sum() / frames.sum()


def smoothness(predicted: Tensor, target: Tensor) -> Tensor:
    """Weighted squared change from frame to frame (MixSTE's temporal consistency loss)."""
    weights = predicted.new_tensor(JOINT_WEIGHTS)[:, None]
    return (weights * predicted.diff(dim=1).square()).mean()


def velocity(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance between the changes from frame to frame (MPJVE as a loss)."""
    return mpjpe(predicted.diff(dim=1), target.diff(dim=1))


def scaled_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of joints after scaling every predicted pose best (N-MPJPE as a loss)."""
    dots = (predicted * target).sum(dim=(2, 3), keepdim=True)
    squares = predicted.square().sum(dim=(2, 3), keepdim=True)
    return mpjpe(dots / squares * predicted, target)


def _bones(poses: Tensor) -> Tensor:
    """Bone vectors (B, F, 16, 3)."""
    first, second = zip(*LIMBS, strict=True)
    return poses[:, :, first] - poses[:, :, second]


def limb_variance(predicted: Tensor, target: Tensor) -> Tensor:
    """Variance of every predicted bone's length over time."""
    return torch.linalg.vector_norm(_bones(predicted), dim=-1).var(dim=1).mean()


def limb_length(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of bone lengths."""
    return functional.l1_loss(
        torch.linalg.vector_norm(_bones(predicted), dim=-1), torch.linalg.vector_norm(_bones(target), dim=-1)
    )


def limb_symmetry(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference between the lengths of a limb's left and right bone."""
    right, left = zip(*_SIDES, strict=True)
    length = torch.linalg.vector_norm(_bones(predicted), dim=-1)
    return (length[:, :, right] - length[:, :, left]).abs().mean()


def _angles(poses: Tensor) -> Tensor:
    """Angles (B, F, 18) between neighbouring bones, in radians."""
    bones = _bones(poses)
    first, second = zip(*_ANGLES, strict=True)
    cosine = functional.cosine_similarity(bones[:, :, first], bones[:, :, second], dim=-1)
    return torch.acos(cosine.clamp(-1 + 1e-7, 1 - 1e-7))


def angle(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of angles between bones."""
    return functional.l1_loss(_angles(predicted), _angles(target))


def angle_velocity(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the changes of those angles."""
    return functional.l1_loss(_angles(predicted).diff(dim=1), _angles(target).diff(dim=1))


Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    loss.__name__: loss
    for loss in (
        mpjpe, weighted_mpjpe, newest, smoothness, velocity, scaled_mpjpe,
        limb_variance, limb_length, limb_symmetry, angle, angle_velocity,
    )
}  # fmt: skip
MIXSTE = {"weighted_mpjpe": 1.0, "smoothness": 0.5, "velocity": 2.0}
MOTIONBERT = {"mpjpe": 1.0, "scaled_mpjpe": 0.5, "velocity": 20.0}


def total(weights: Mapping[str, float]) -> Loss:
    """The weighted sum of the losses that are named."""
    for name in weights:
        if name not in LOSSES:
            raise ConfigError(f"loss: expected names out of {', '.join(LOSSES)}, got {name!r}")
    return partial(_total, weights=dict(weights))


def _total(predicted: Tensor, target: Tensor, weights: dict[str, float]) -> Tensor:
    still = predicted.shape[1] == 1  # one frame has no changes from frame to frame
    moving = {"smoothness", "velocity", "angle_velocity", "limb_variance"}
    parts = [
        w * LOSSES[name](predicted, target) for name, w in weights.items() if not (still and name in moving)
    ]
    return torch.stack(parts).sum()
