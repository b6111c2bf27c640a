"""Training losses: those of MixSTE and MotionBERT, and two for live use.

All take predictions and targets (B, F, J, 3) float32 in metres (or in the normalised units of MotionBERT) and
return a scalar. `total` is the weighted sum of the losses that a recipe names.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from lifter.joints import BONE_PAIRS, BONES, H36M, part_of
from stream.errors import ConfigError

# MixSTE, section 3.4: joints that move more have larger weights.
_PART_WEIGHTS = {"knee": 2.5, "ankle": 2.5, "head_top": 1.5, "shoulder": 1.5, "elbow": 4.0, "wrist": 4.0}
JOINT_WEIGHTS = tuple(_PART_WEIGHTS.get(part_of(name), 1.0) for name in H36M.joints)
# Pairs of bones between which MotionBERT measures angles: all that share a joint, but for neck and left
# shoulder (8, 10), in the order of its code.
_ANGLES = (
    (0, 3), (0, 6), (3, 6), (0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 10),
    (7, 13), (8, 13), (10, 13), (7, 8), (8, 9), (10, 11), (11, 12), (13, 14), (14, 15),
)  # fmt: skip
_NEWEST_FRAMES = 8.0  # decay of the weights of `newest`


def mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean joint distance."""
    return _distance(predicted, target).mean()


def weighted_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean joint distance with MixSTE's joint weights."""
    return (predicted.new_tensor(JOINT_WEIGHTS) * _distance(predicted, target)).mean()


def newest(predicted: Tensor, target: Tensor) -> Tensor:
    """Weighted joint distance of the last frames, which live use publishes."""
    age = torch.arange(predicted.shape[1] - 1, -1, -1, dtype=predicted.dtype, device=predicted.device)
    frame_weights = torch.exp(-age / _NEWEST_FRAMES)
    distance = _distance(predicted, target) * predicted.new_tensor(JOINT_WEIGHTS)
    return (distance.mean(dim=(0, 2)) * frame_weights).sum() / frame_weights.sum()


def smoothness(predicted: Tensor, target: Tensor) -> Tensor:
    """Weighted squared change from frame to frame (MixSTE's temporal consistency loss)."""
    weights = predicted.new_tensor(JOINT_WEIGHTS)[:, None]
    return (weights * predicted.diff(dim=1).square()).mean()


def velocity(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance between the changes from frame to frame (MPJVE as a loss)."""
    return mpjpe(predicted.diff(dim=1), target.diff(dim=1))


def acceleration(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance between the second differences (acceleration error as a loss)."""
    return mpjpe(predicted.diff(n=2, dim=1), target.diff(n=2, dim=1))


def scaled_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean joint distance after the best scaling of each predicted pose (N-MPJPE as a loss)."""
    dots = (predicted * target).sum(dim=(2, 3), keepdim=True)
    squares = predicted.square().sum(dim=(2, 3), keepdim=True)
    return mpjpe(dots / squares * predicted, target)


def limb_variance(predicted: Tensor, target: Tensor) -> Tensor:
    """Variance over time of the predicted bone lengths."""
    return _bone_lengths(predicted).var(dim=1).mean()


def limb_length(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of bone lengths."""
    return functional.l1_loss(_bone_lengths(predicted), _bone_lengths(target))


def limb_symmetry(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference between the lengths of left and right bones."""
    left, right = (list(bones) for bones in zip(*BONE_PAIRS, strict=True))
    length = _bone_lengths(predicted)
    return (length[:, :, right] - length[:, :, left]).abs().mean()


def angle(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the angles between neighbouring bones, radians."""
    return functional.l1_loss(_angles(predicted), _angles(target))


def angle_velocity(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the changes of these angles from frame to frame."""
    return functional.l1_loss(_angles(predicted).diff(dim=1), _angles(target).diff(dim=1))


def _distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Joint distances (B, F, J)."""
    distance: Tensor = torch.linalg.vector_norm(predicted - target, dim=-1)
    return distance


def _bone_vectors(poses: Tensor) -> Tensor:
    """Vectors (B, F, 16, 3) of bones, from joint to parent."""
    parents, joints = (list(column) for column in zip(*BONES, strict=True))
    return poses[:, :, parents] - poses[:, :, joints]


def _bone_lengths(poses: Tensor) -> Tensor:
    """Lengths (B, F, 16) of bones."""
    length: Tensor = torch.linalg.vector_norm(_bone_vectors(poses), dim=-1)
    return length


def _angles(poses: Tensor) -> Tensor:
    """Angles (B, F, 18) between neighbouring bones, radians."""
    bones = _bone_vectors(poses)
    first, second = (list(column) for column in zip(*_ANGLES, strict=True))
    cosine = functional.cosine_similarity(bones[:, :, first], bones[:, :, second], dim=-1)
    return torch.acos(cosine.clamp(-1 + 1e-7, 1 - 1e-7))


Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    loss.__name__: loss
    for loss in (
        mpjpe, weighted_mpjpe, newest, smoothness, velocity, acceleration, scaled_mpjpe,
        limb_variance, limb_length, limb_symmetry, angle, angle_velocity,
    )
}  # fmt: skip
_MIN_FRAMES = {"smoothness": 2, "velocity": 2, "angle_velocity": 2, "limb_variance": 2, "acceleration": 3}


def total(weights: Mapping[str, float]) -> Loss:
    """The sum of losses, weighted by name. Raises ConfigError for an unknown name."""
    for name in weights:
        if name not in LOSSES:
            raise ConfigError(f"loss: expected names out of {', '.join(LOSSES)}, got {name!r}")
    return partial(_total, weights=dict(weights))


def _total(predicted: Tensor, target: Tensor, weights: dict[str, float]) -> Tensor:
    frames = predicted.shape[1]
    parts = [
        weight * LOSSES[name](predicted, target)
        for name, weight in weights.items()
        if frames >= _MIN_FRAMES.get(name, 1)
    ]
    return torch.stack(parts).sum()
