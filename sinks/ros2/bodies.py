"""Persons as ROS shows them: REP-155 body frames, markers, OpenPose's 18 points, a URDF for RViz."""

import hashlib
from collections.abc import Iterator

import numpy as np

from sinks.ros2 import messages as ros
from sinks.ros2.messages import Marker, Transform
from stream.messages import F32, JointOrigin, Pose
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
# OpenPose's 18 points from h36m17 joints; eyes and ears are not among them.
_OPENPOSE = {0: 9, 1: 8, 2: 14, 3: 15, 4: 16, 5: 11, 6: 12, 7: 13, 8: 1, 9: 2, 10: 3, 11: 4, 12: 5, 13: 6}
_LETTERS, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz0123456789"
_MARKER_LIFETIME_NS = 250_000_000
_BY_ORIGIN = {
    JointOrigin.OBSERVED: (0.2, 0.9, 0.3, 1.0),
    JointOrigin.INTERPOLATED: (1.0, 0.8, 0.1, 1.0),
    JointOrigin.PREDICTED: (1.0, 0.3, 0.1, 1.0),
}


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
    body = to_parent @ world[0] @ _TRUNK
    yield Transform(parent, f"body_{id}", ros.as_position(root), _quat(body))
    for name, bone, axes in LINKS:
        index = HUMANOID.index[bone]
        offset = to_parent @ person.xyz[HUMANOID.heads[index]].astype(np.float64)
        turned = body.T @ to_parent @ world[index] @ axes
        yield Transform(f"body_{id}", f"{name}_{id}", ros.as_position(body.T @ offset), _quat(turned))


def body_markers(person: Pose, root: F32, frame_id: str, source: str, id: str, skeleton: str) -> list[Marker]:
    """Bones as lines, joints as spheres coloured by origin, the id above the head; in the pose's own
    frame.
    """
    parents = skeleton_named(skeleton).parents
    xyz = person.xyz + root
    bones = [(joint, parent) for joint, parent in enumerate(parents) if parent >= 0]
    bones = [pair for pair in bones if np.isfinite(xyz[list(pair)]).all()]
    joints = np.flatnonzero(np.isfinite(xyz).all(axis=1))
    if not len(joints):
        return []
    colours = np.array([_BY_ORIGIN.get(JointOrigin(person.origin[joint]), (1, 1, 1, 1)) for joint in joints])
    namespace, life = f"{source}/{id}", _MARKER_LIFETIME_NS
    lines = xyz[np.array(bones, int).reshape(-1)]
    top = xyz[joints].mean(axis=0)
    return [
        Marker(frame_id, namespace, 0, ros.LINE_LIST, scale=(0.03, 0, 0), lifetime_ns=life, points=lines),
        Marker(
            *(frame_id, namespace, 1, ros.SPHERE_LIST),
            scale=(0.06, 0.06, 0.06),
            lifetime_ns=life,
            points=xyz[joints],
            colours=colours.astype(np.float32),
        ),
        Marker(
            *(frame_id, namespace, 2, ros.TEXT),
            position=ros.as_position(top.astype(np.float64)),
            scale=(0, 0, 0.12),
            lifetime_ns=life,
            text=id,
        ),
    ]


def delete_markers(frame_id: str, source: str, id: str) -> list[Marker]:
    """Remove the markers of a lost person."""
    return [Marker(frame_id, f"{source}/{id}", number, action=ros.DELETE) for number in range(3)]


def openpose_points(keypoints: F32, size_wh: tuple[int, int]) -> F32:
    """OpenPose's 18 points (18, 3), x and y in 0..1 of the image and score, from h36m17 keypoints (17, 3)
    px.
    """
    points = np.zeros((18, 3), np.float32)
    for point, joint in _OPENPOSE.items():
        x, y, score = keypoints[joint]
        if np.isfinite(x + y) and score > 0:
            points[point] = np.clip(x / size_wh[0], 0, 1), np.clip(y / size_wh[1], 0, 1), score
    return points


def bounding_box(keypoints: F32, size_wh: tuple[int, int]) -> tuple[tuple[float, float, float, float], float]:
    """Box of left, top, right, bottom in 0..1 of the image around the keypoints (J, 3), and their mean
    score.
    """
    seen = keypoints[np.isfinite(keypoints).all(axis=1) & (keypoints[:, 2] > 0)]
    if not len(seen):
        return (0.0, 0.0, 0.0, 0.0), 0.0
    low, high = (
        np.clip(seen[:, :2].min(axis=0) / size_wh, 0, 1),
        np.clip(seen[:, :2].max(axis=0) / size_wh, 0, 1),
    )
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1])), float(seen[:, 2].mean())


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


def _quat(rotation: F64) -> tuple[float, float, float, float]:
    x, y, z, w = quaternions(rotation).tolist()
    return x, y, z, w
