"""Bodies of many people from the motion of a few: bone lengths resampled, sides mirrored, one size."""

import torch
from torch import Tensor

from lifter.normalise import SIZE_BONES, SIZE_M

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15, 9, 8)  # 17 joints, nose tip, mid-ears
MIRROR = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13, 17, 18)
# Bones by the joint they end in; left and right share a length.
_GROUPS = ((1, 4), (2, 5), (3, 6), (7,), (8,), (9, 10, 17, 18), (11, 14), (12, 15), (13, 16))
_CHILD = (0.9, 0.93, 0.9, 1.05, 1.05, 1.35, 1.0, 0.92, 0.9)  # bones of a child against an adult of that size
# Bodies that are tested: factors by the groups above, against the captured person's own.
BODIES = {
    "their own": (1.0,) * 9,
    "a child's": _CHILD,
    "long arms and legs": (1.0, 1.08, 1.08, 0.95, 0.95, 0.95, 1.0, 1.08, 1.08),
    "short arms and legs": (1.0, 0.92, 0.92, 1.05, 1.05, 1.05, 1.0, 0.92, 0.92),
}
_SIZED = tuple(joint for joint, _ in SIZE_BONES)


def mirror(xyz: Tensor, chosen: Tensor) -> Tensor:
    """Swap left and right of the windows (B, F, 19, 3) that are `chosen` (B,) bool; z stays up."""
    turned = xyz[:, :, MIRROR[: xyz.shape[2]]] * xyz.new_tensor((-1.0, 1.0, 1.0))
    return torch.where(chosen[:, None, None, None], turned, xyz)


def resize(xyz: Tensor, scale: Tensor) -> Tensor:
    """Give windows (B, F, 19, 3) the bones `scale` (B, 19) times as long, then an average adult's size.

    The size cannot be seen in an image, so every person has the same one; the path of the root shrinks alike.
    """
    joints = [xyz[:, :, 0]]
    total = xyz.new_zeros(xyz.shape[:2])
    for joint in range(1, xyz.shape[2]):
        parent = PARENTS[joint]
        bone = (xyz[:, :, joint] - xyz[:, :, parent]) * scale[:, None, joint, None]
        joints.append(joints[parent] + bone)
        if joint in _SIZED:
            total += torch.linalg.vector_norm(bone, dim=-1)
    factor = SIZE_M / total.mean(dim=1)
    return torch.stack(joints, dim=2) * factor[:, None, None, None]


def random_scale(windows: int, generator: torch.Generator) -> Tensor:
    """Bone factors (B, 19): proportions of people, one in eight of a child."""
    spread = 0.07 * torch.randn(windows, len(_GROUPS), generator=generator)
    legs, arms = 0.05 * torch.randn(2, windows, generator=generator)
    spread[:, 1:3] += legs[:, None]
    spread[:, 7:9] += arms[:, None]
    # Motion capture puts the wrist anywhere between forearm and hand.
    spread[:, 8] += 0.08 + 0.06 * torch.randn(windows, generator=generator)
    child = torch.rand(windows, 1, generator=generator) < 0.125
    return by_joint(spread.exp() * torch.where(child, torch.tensor(_CHILD), torch.ones(len(_CHILD))))


def by_joint(factor: Tensor) -> Tensor:
    """Bone factors (B, 19) by the joint a bone ends in, of factors (B, 9) by group."""
    scale = torch.ones(len(factor), len(PARENTS))
    for group, joints in enumerate(_GROUPS):
        scale[:, joints] = factor[:, group, None]
    return scale
