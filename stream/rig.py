"""The humanoid rig that all rotations refer to: 19 bones, their rest pose, and forward kinematics.

Rest pose: a T-pose, palms down. Rest axes are those of glTF, VRM 1, BVH and three.js: right-handed, x to the
person's left, y up, z ahead. A bone turns about its head; its rotation is local, that is, relative to the
parent bone. The first bone, Hips, turns the rest axes into the axes of the pose's `frame_id`.

The 17 joints of Human3.6M do not show everything: the twist of a forearm, hands and feet keep their rest
rotation.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from stream.rotations import F64

SKELETON: Final = "h36m17"  # the joint layout that the indices below refer to
NO_BONE: Final = -1

# name, parent, joint at its head, joint it points to (-1: none), direction at rest
_BONES = (
    ("Hips", "", 0, -1, (0.0, 1.0, 0.0)),
    ("Spine", "Hips", 0, 7, (0.0, 1.0, 0.0)),
    ("Chest", "Spine", 7, 8, (0.0, 1.0, 0.0)),
    # Joint 9 lies in the face and joint 10 on top of the head: means over upright motion capture.
    ("Neck", "Chest", 8, 9, (0.0, 0.8211, 0.5708)),
    ("Head", "Neck", 9, 10, (0.0, 0.9326, -0.361)),
    ("LeftShoulder", "Chest", 8, 11, (1.0, 0.0, 0.0)),
    ("LeftUpperArm", "LeftShoulder", 11, 12, (1.0, 0.0, 0.0)),
    ("LeftLowerArm", "LeftUpperArm", 12, 13, (1.0, 0.0, 0.0)),
    ("LeftHand", "LeftLowerArm", 13, -1, (1.0, 0.0, 0.0)),
    ("RightShoulder", "Chest", 8, 14, (-1.0, 0.0, 0.0)),
    ("RightUpperArm", "RightShoulder", 14, 15, (-1.0, 0.0, 0.0)),
    ("RightLowerArm", "RightUpperArm", 15, 16, (-1.0, 0.0, 0.0)),
    ("RightHand", "RightLowerArm", 16, -1, (-1.0, 0.0, 0.0)),
    ("LeftUpperLeg", "Hips", 4, 5, (0.0, -1.0, 0.0)),
    ("LeftLowerLeg", "LeftUpperLeg", 5, 6, (0.0, -1.0, 0.0)),
    ("LeftFoot", "LeftLowerLeg", 6, -1, (0.0, -1.0, 0.0)),
    ("RightUpperLeg", "Hips", 1, 2, (0.0, -1.0, 0.0)),
    ("RightLowerLeg", "RightUpperLeg", 2, 3, (0.0, -1.0, 0.0)),
    ("RightFoot", "RightLowerLeg", 3, -1, (0.0, -1.0, 0.0)),
)


@dataclass(frozen=True)
class Rig:
    """Bones in an order in which parents come first.

    parents: index of each bone's parent, -1 for the first. heads, targets: indices of the joints at a bone's
    head and at its end, -1 where no joint lies there. directions (B, 3): unit vectors in rest axes.
    """

    bones: tuple[str, ...]
    parents: tuple[int, ...]
    heads: tuple[int, ...]
    targets: tuple[int, ...]
    directions: F64

    @cached_property
    def index(self) -> dict[str, int]:
        """Bone index by name."""
        return {name: number for number, name in enumerate(self.bones)}

    def world_rotations(self, local: F64) -> F64:
        """Local rotation matrices (..., B, 3, 3) as rotations from rest axes to the frame's axes."""
        world = np.empty_like(local)
        for bone, parent in enumerate(self.parents):
            turned = local[..., bone, :, :]
            world[..., bone, :, :] = turned if parent < 0 else world[..., parent, :, :] @ turned
        return world

    def forward(self, local: F64, rest: F64, root: F64) -> F64:
        """Positions (..., B, 3) m of the bones' heads by forward kinematics.

        local (..., B, 3, 3) rotation matrices; rest (..., B, 3) m: each head from its
        parent's head, in rest axes; root (..., 3) m: where the first bone's head is.
        """
        world = self.world_rotations(local)
        heads = np.empty(np.broadcast_shapes(local.shape[:-1], rest.shape))
        for bone, parent in enumerate(self.parents):
            if parent < 0:
                heads[..., bone, :] = root
            else:
                offset = np.einsum("...ij,...j->...i", world[..., parent, :, :], rest[..., bone, :])
                heads[..., bone, :] = heads[..., parent, :] + offset
        return heads


def _rig() -> Rig:
    names = [name for name, *_ in _BONES]
    return Rig(
        bones=tuple(names),
        parents=tuple(names.index(parent) if parent else NO_BONE for _, parent, *_ in _BONES),
        heads=tuple(head for _, _, head, _, _ in _BONES),
        targets=tuple(target for _, _, _, target, _ in _BONES),
        directions=np.array([np.array(rest) / np.linalg.norm(rest) for *_, rest in _BONES]),
    )


HUMANOID: Final = _rig()
