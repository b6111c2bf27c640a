"""Index lists of the 17 Human3.6M joints, derived from the skeleton in `stream.skeletons`.

A bone is a pair (parent, joint); bone number i ends in joint i + 1.
"""

from stream.skeletons import skeleton_named

H36M = skeleton_named("h36m17")
BONES = tuple((parent, joint) for joint, parent in enumerate(H36M.parents) if parent >= 0)
BONE_PAIRS = tuple((left - 1, right - 1) for left, right in H36M.flip_pairs)  # bones of both sides
RIGHT_SIDE = tuple(index for index, name in enumerate(H36M.joints) if name.startswith("right_"))


def part_of(name: str) -> str:
    """A joint's name without its side: "left_knee" is a "knee"."""
    return name.removeprefix("left_").removeprefix("right_")


def joints_of(*parts: str) -> tuple[int, ...]:
    """Indices of all joints of some body parts, of both sides, in the skeleton's order."""
    return tuple(index for index, name in enumerate(H36M.joints) if part_of(name) in parts)


LIMB_JOINTS = joints_of("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
LIMBS = tuple(bone for bone in BONES if set(bone) <= set(LIMB_JOINTS))  # thighs, shins, upper and lower arms
LOWER_BODY = joints_of("pelvis", "hip", "knee", "ankle")
