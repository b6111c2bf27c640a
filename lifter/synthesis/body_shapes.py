"""Vary the bodies of captured people: bone lengths, left-right mirroring, one size for all."""

import torch
from torch import Tensor

from lifter.data.mocap_joints import (
    HEAD_TOP,
    MID_EARS,
    NECK_NOSE,
    NOSE,
    OTHER_SIDE,
    PARENTS,
    both_sides,
    indices,
)
from lifter.normalise import SIZE_BONES, SIZE_M, constant

# Groups of bones with one length factor, by the joints they end in.
_GROUPS = (
    both_sides("hip"), both_sides("knee"), both_sides("ankle"), indices("spine"), indices("thorax"),
    (NECK_NOSE, HEAD_TOP, NOSE, MID_EARS),
    both_sides("shoulder"), both_sides("elbow"), both_sides("wrist"),
)  # fmt: skip
_KNEES, _ANKLES, _ELBOWS, _WRISTS = 1, 2, 7, 8  # indices of groups
_CHILD = (0.9, 0.93, 0.9, 1.05, 1.05, 1.35, 1.0, 0.92, 0.9)  # against an adult of the same size
# Body shapes of the evaluation: factors by group, against the captured person's own bones.
BODY_SHAPES = {
    "their own": (1.0,) * 9,
    "a child's": _CHILD,
    "long arms and legs": (1.0, 1.08, 1.08, 0.95, 0.95, 0.95, 1.0, 1.08, 1.08),
    "short arms and legs": (1.0, 0.92, 0.92, 1.05, 1.05, 1.05, 1.0, 0.92, 0.92),
}
_SIZE_JOINTS = tuple(joint for joint, _ in SIZE_BONES)


def mirror_windows(xyz: Tensor, selected: Tensor) -> Tensor:
    """Exchange left and right of the `selected` (B,) bool windows of xyz (B, F, 17 or 19, 3); z stays up."""
    mirrored = xyz[:, :, constant(OTHER_SIDE[: xyz.shape[2]], xyz.device)] * constant(
        (-1.0, 1.0, 1.0), xyz.device
    )
    return torch.where(selected[:, None, None, None], mirrored, xyz)


def resize_bones(xyz: Tensor, factors: Tensor) -> Tensor:
    """Scale the bones of xyz (B, F, 19, 3) by factors (B, 19), then the person to an average adult's size.

    An image does not show the size of a person, so all have the same. The root's path is scaled too.
    """
    joints = [xyz[:, :, 0]]
    size = xyz.new_zeros(xyz.shape[:2])
    for joint in range(1, xyz.shape[2]):
        parent = PARENTS[joint]
        bone = (xyz[:, :, joint] - xyz[:, :, parent]) * factors[:, None, joint, None]
        joints.append(joints[parent] + bone)
        if joint in _SIZE_JOINTS:
            size += torch.linalg.vector_norm(bone, dim=-1)
    scale = SIZE_M / size.mean(dim=1)
    return torch.stack(joints, dim=2) * scale[:, None, None, None]


def random_bone_factors(windows: int, generator: torch.Generator) -> Tensor:
    """Random bone length factors (B, 19); one window in eight has the proportions of a child."""
    spread = 0.07 * torch.randn(windows, len(_GROUPS), generator=generator)
    legs, arms = 0.05 * torch.randn(2, windows, generator=generator)
    spread[:, _KNEES : _ANKLES + 1] += legs[:, None]
    spread[:, _ELBOWS : _WRISTS + 1] += arms[:, None]
    # The wrist of motion capture is anywhere between forearm and hand.
    spread[:, _WRISTS] += 0.08 + 0.06 * torch.randn(windows, generator=generator)
    child = torch.rand(windows, 1, generator=generator) < 0.125
    adult_or_child = torch.where(child, constant(_CHILD, spread.device), torch.ones_like(spread))
    return factors_by_joint(spread.exp() * adult_or_child)


def factors_by_joint(by_group: Tensor) -> Tensor:
    """Bone factors (B, 19), by the joint a bone ends in, of factors (B, 9) by group; 1 for the root."""
    factors = by_group.new_ones(len(by_group), len(PARENTS))
    for group, joints in enumerate(_GROUPS):
        factors[:, constant(joints, factors.device)] = by_group[:, group, None]
    return factors
