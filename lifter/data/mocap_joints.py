"""The 19 joints of motion-capture clips: Human3.6M's 17, the tip of the nose and the middle of the ears.

The two joints of the face are needed to make a detector's neck and head. All index lists follow from the
joint names in `stream.skeletons`.
"""

from stream.skeletons import skeleton_named

_H36M17 = skeleton_named("h36m17")
JOINTS = (*_H36M17.joints, "nose", "mid_ears")
FACE = 2  # joints after the 17


def indices(*names: str) -> tuple[int, ...]:
    """Indices of joints by name; ValueError for an unknown name."""
    return tuple(JOINTS.index(name) for name in names)


def both_sides(part: str) -> tuple[int, ...]:
    """Indices of the left and right joint of a body part, such as "knee"."""
    return indices(f"left_{part}", f"right_{part}")


def _other_side() -> tuple[int, ...]:
    other_side = list(range(len(JOINTS)))
    for left, right in _H36M17.flip_pairs:
        other_side[left], other_side[right] = right, left
    return tuple(other_side)


PARENTS = (*_H36M17.parents, *indices("neck_nose", "thorax"))  # index of each joint's parent, -1 for the root
OTHER_SIDE = _other_side()  # for each joint its index after left and right are exchanged

PELVIS, SPINE, THORAX, NECK_NOSE, HEAD_TOP, NOSE, MID_EARS = indices(
    "pelvis", "spine", "thorax", "neck_nose", "head_top", "nose", "mid_ears"
)
LEFT_HIP, RIGHT_HIP = HIPS = both_sides("hip")
LEFT_SHOULDER, RIGHT_SHOULDER = SHOULDERS = both_sides("shoulder")
LEFT_LEG, RIGHT_LEG = (indices(f"{side}_hip", f"{side}_knee", f"{side}_ankle") for side in ("left", "right"))
LEFT_ARM, RIGHT_ARM = (
    indices(f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist") for side in ("left", "right")
)
LEGS, ARMS = (*LEFT_LEG, *RIGHT_LEG), (*LEFT_ARM, *RIGHT_ARM)
UPPER_BODY = (SPINE, THORAX, NECK_NOSE, HEAD_TOP, *ARMS, NOSE, MID_EARS)
