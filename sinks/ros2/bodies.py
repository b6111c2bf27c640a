"""Persons as ROS shows them: REP-155 body frames, markers, OpenPose's 18 points, a URDF for RViz."""

import functools
import hashlib
from collections.abc import Iterator

import numpy as np

from sinks.ros2 import messages as ros
from sinks.ros2.messages import Marker, Transform
from stream.messages import F32, I64, JointOrigin, Pose
from stream.rig import HUMANOID
from stream.rotations import F64, matrices, quaternions
from stream.skeletons import skeleton_named

_AHEAD, _LEFT, _UP = np.array([0.0, 0, 1]), np.array([1.0, 0, 0]), np.array([0.0, 1, 0])
# Axes x, y, z of a link as columns in the rig's rest axes: along arms, -z runs towards the hand.
_TRUNK = np.stack([_AHEAD, _LEFT, _UP], axis=1)
_LEFT_ARM = np.stack([_AHEAD, _UP, -_LEFT], axis=1)
_RIGHT_ARM = np.stack([_AHEAD, -_UP, _LEFT], axis=1)
# frame, bone that turns it, link axes; all are children of the body frame.
LINKS = (
    ("torso", "Chest", _TRUNK),
    ("head", "Head", _TRUNK),
    ("l_shoulder", "LeftUpperArm", _LEFT_ARM),
    ("l_elbow", "LeftLowerArm", _LEFT_ARM),
    ("l_wrist", "LeftHand", _LEFT_ARM),
    ("r_shoulder", "RightUpperArm", _RIGHT_ARM),
    ("r_elbow", "RightLowerArm", _RIGHT_ARM),
    ("r_wrist", "RightHand", _RIGHT_ARM),
    ("l_hip", "LeftUpperLeg", _TRUNK),
    ("l_knee", "LeftLowerLeg", _TRUNK),
    ("l_ankle", "LeftFoot", _TRUNK),
    ("r_hip", "RightUpperLeg", _TRUNK),
    ("r_knee", "RightLowerLeg", _TRUNK),
    ("r_ankle", "RightFoot", _TRUNK),
)
_LINK_BONES = [HUMANOID.index[bone] for _, bone, _ in LINKS]
_LINK_JOINTS = [HUMANOID.heads[bone] for bone in _LINK_BONES]
_LINK_AXES = np.stack([axes for *_, axes in LINKS])
# OpenPose's 18 points from h36m17 joints; eyes and ears are not among them.
_OPENPOSE_POINTS = list(range(14))
_OPENPOSE_JOINTS = [9, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6]
_LETTERS, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz0123456789"
_MARKER_LIFETIME_NS = 250_000_000
_COLOURS = np.ones((max(JointOrigin) + 1, 4), np.float32)  # of a joint, by its origin
_COLOURS[JointOrigin.OBSERVED] = (0.2, 0.9, 0.3, 1.0)
_COLOURS[JointOrigin.INTERPOLATED] = (1.0, 0.8, 0.1, 1.0)
_COLOURS[JointOrigin.PREDICTED] = (1.0, 0.3, 0.1, 1.0)


def ros_id(source: str, id: str) -> str:
    """Five letters and digits, first a letter, for any id: RViz cuts names to the last five characters.

    Ids of that form stay as they are; all others are replaced by a digest of source and id.
    """
    if len(id) == 5 and id[0] in _LETTERS and all(character in _DIGITS for character in id):
        return id
    number = int.from_bytes(hashlib.sha256(f"{source}\0{id}".encode()).digest()[:8], "big")
    characters = [_LETTERS[number % 26]]
    number //= 26
    for _ in range(4):
        characters.append(_DIGITS[number % 36])
        number //= 36
    return "".join(characters)


def body_transforms(person: Pose, root: F64, parent: str, id: str, to_parent: F64) -> Iterator[Transform]:
    """REP-155 frames: body_<id> under `parent`, all other frames under the body.

    root (3,) m in `parent`; to_parent (3, 3): rotation from the pose's axes to those of `parent`. The person
    needs rotations.
    """
    assert person.rotations is not None
    world = HUMANOID.world_rotations(matrices(person.rotations.quat.astype(np.float64)))
    body = world[0] @ _TRUNK
    turned = np.concatenate([(to_parent @ body)[None], body.T @ world[_LINK_BONES] @ _LINK_AXES])
    (x, y, z, w), *quats = quaternions(turned).tolist()
    offsets = (person.xyz[_LINK_JOINTS].astype(np.float64) @ body).tolist()
    yield Transform(parent, f"body_{id}", ros.as_position(root), (x, y, z, w))
    for (name, *_), offset, quat in zip(LINKS, offsets, quats, strict=True):
        yield Transform(f"body_{id}", f"{name}_{id}", tuple(offset), tuple(quat))


def body_markers(person: Pose, root: F32, frame_id: str, source: str, id: str, skeleton: str) -> list[Marker]:
    """Bones as lines, joints as spheres coloured by origin, the id above the head; in the pose's own
    frame.
    """
    xyz = person.xyz + root
    known = np.isfinite(xyz).all(axis=1)
    joints = np.flatnonzero(known)
    if not len(joints):
        return []
    bones = _bones(skeleton)
    namespace, life = f"{source}/{id}", _MARKER_LIFETIME_NS
    lines = xyz[bones[known[bones].all(axis=1)].reshape(-1)]
    top = xyz[joints].mean(axis=0)
    return [
        Marker(frame_id, namespace, 0, ros.LINE_LIST, scale=(0.03, 0, 0), lifetime_ns=life, points=lines),
        Marker(
            *(frame_id, namespace, 1, ros.SPHERE_LIST),
            scale=(0.06, 0.06, 0.06),
            lifetime_ns=life,
            points=xyz[joints],
            colours=_COLOURS[person.origin[joints]],
        ),
        Marker(
            *(frame_id, namespace, 2, ros.TEXT),
            position=ros.as_position(top.astype(np.float64)),
            scale=(0, 0, 0.12),
            lifetime_ns=life,
            text=id,
        ),
    ]


@functools.cache
def _bones(skeleton: str) -> I64:
    """The joint indices (N, 2) at both ends of each bone."""
    parents = skeleton_named(skeleton).parents
    return np.array([(joint, parent) for joint, parent in enumerate(parents) if parent >= 0], np.int64)


def delete_markers(frame_id: str, source: str, id: str) -> list[Marker]:
    """Remove the markers of a lost person."""
    return [Marker(frame_id, f"{source}/{id}", number, action=ros.DELETE) for number in range(3)]


def openpose_points(keypoints: F32, size_wh: tuple[int, int]) -> F32:
    """OpenPose's 18 points (18, 3), x and y in 0..1 of the image and score, from h36m17 keypoints (17, 3)
    px.
    """
    points = np.zeros((18, 3), np.float32)
    picked = keypoints[_OPENPOSE_JOINTS]
    known = np.isfinite(picked).all(axis=1) & (picked[:, 2] > 0)
    points[_OPENPOSE_POINTS] = np.where(known[:, None], picked / (*size_wh, 1), 0.0).clip(0, 1)
    return points


def bounding_box(keypoints: F32, size_wh: tuple[int, int]) -> tuple[tuple[float, float, float, float], float]:
    """Box of left, top, right, bottom in 0..1 of the image around the keypoints (J, 3), and their mean
    score.
    """
    detected = keypoints[np.isfinite(keypoints).all(axis=1) & (keypoints[:, 2] > 0)]
    if not len(detected):
        return (0.0, 0.0, 0.0, 0.0), 0.0
    box = np.concatenate([detected[:, :2].min(axis=0), detected[:, :2].max(axis=0)]) / (*size_wh, *size_wh)
    left, top, right, bottom = box.clip(0, 1).tolist()
    return (left, top, right, bottom), float(detected[:, 2].mean())


def urdf(id: str, person: Pose) -> str:
    """A robot description whose links are the body frames, so that RViz's RobotModel draws a figure."""
    assert person.rotations is not None
    rest = person.rotations.rest
    parts = [f'<?xml version="1.0"?><robot name="body_{id}">', _link(f"body_{id}", "box", "0.2 0.3 0.15", 0)]
    for name, bone, _ in LINKS:
        children = [n for n, parent in enumerate(HUMANOID.parents) if parent == HUMANOID.index[bone]]
        length = float(np.linalg.norm(rest[children[0]])) if children else 0.1
        if name == "torso":
            parts.append(_link(f"{name}_{id}", "box", f"0.18 0.3 {length:.3f}", length / 2))
        elif name == "head":
            parts.append(_link(f"{name}_{id}", "sphere", "0.1", 0.1))
        else:
            parts.append(_link(f"{name}_{id}", "cylinder", f"{length:.3f}", -length / 2))
        parts.append(
            f'<joint name="{name}_{id}_joint" type="floating"><parent link="body_{id}"/>'
            f'<child link="{name}_{id}"/></joint>'
        )
    return "".join(parts) + "</robot>"


def _link(name: str, shape: str, size: str, z: float) -> str:
    shapes = {
        "box": f'<box size="{size}"/>',
        "sphere": f'<sphere radius="{size}"/>',
        "cylinder": f'<cylinder radius="0.04" length="{size}"/>',
    }
    return (
        f'<link name="{name}"><visual><origin xyz="0 0 {z:.3f}"/><geometry>{shapes[shape]}</geometry>'
        '<material name="body"><color rgba="0.3 0.6 0.9 1"/></material></visual></link>'
    )
