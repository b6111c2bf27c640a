"""Persons of constant bone lengths in known postures, and pose frames with their rotations."""

import numpy as np

from stream.messages import Header, Pose, PoseFrame
from stream.postprocess.batch import PoseBatch
from stream.postprocess.joint_rotations import JointRotations
from stream.rig import HUMANOID
from stream.rotations import turns

HZ = 50
B = HUMANOID.index
REST = np.zeros((19, 3))
for bone, length in (
    ("Chest", 0.22), ("Neck", 0.25), ("Head", 0.1), ("LeftUpperArm", 0.16), ("RightUpperArm", 0.16),
    ("LeftLowerArm", 0.28), ("RightLowerArm", 0.28), ("LeftHand", 0.25), ("RightHand", 0.25),
    ("LeftLowerLeg", 0.43), ("RightLowerLeg", 0.43), ("LeftFoot", 0.42), ("RightFoot", 0.42),
):  # fmt: skip
    REST[B[bone]] = HUMANOID.directions[HUMANOID.parents[B[bone]]] * length
REST[B["LeftShoulder"]] = REST[B["RightShoulder"]] = REST[B["Neck"]]
REST[B["LeftUpperLeg"]], REST[B["RightUpperLeg"]] = (0.12, 0, 0), (-0.12, 0, 0)
HEAD_TOP = 0.14 * HUMANOID.directions[B["Head"]]
CAMERA = np.diag([1.0, -1.0, -1.0])  # a person who faces the camera, in the camera's axes


def joints(**bones: np.ndarray) -> np.ndarray:
    """Joint positions (17, 3) of a person who faces the camera, with these bones turned."""
    local = np.broadcast_to(np.eye(3), (19, 3, 3)).copy()
    local[0] = CAMERA
    for name, turned in bones.items():
        local[B[name]] = local[B[name]] @ turned
    return joints_of(local)


def joints_of(local: np.ndarray) -> np.ndarray:
    heads, world = HUMANOID.forward(local, REST, np.zeros(3)), HUMANOID.world_rotations(local)
    xyz = np.zeros((17, 3))
    for bone, joint in enumerate(HUMANOID.heads):
        xyz[joint] = heads[bone]
    xyz[10] = heads[B["Head"]] + world[B["Head"]] @ HEAD_TOP
    return xyz


def about(x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    """Rotation by these degrees about one of the axes."""
    axis = np.array([x, y, z], float)
    angle = np.linalg.norm(axis)
    return turns(axis / max(angle, 1e-12), np.radians(angle))


def dance(seconds: float) -> list[np.ndarray]:
    """A person who swings all limbs, bends elbows and knees, and turns around."""
    frames = []
    for t in np.arange(round(seconds * HZ)) / HZ:
        swing, bend = np.sin(2.3 * t), 50 + 45 * np.sin(1.7 * t)
        frames.append(
            joints(
                Hips=about(y=70 * t),
                Chest=about(y=20 * swing),
                Head=about(y=15 * swing),
                LeftUpperArm=about(z=60 * swing) @ about(x=30 * swing),
                LeftLowerArm=about(y=-bend),
                RightUpperArm=about(z=-50 * swing),
                RightLowerArm=about(y=bend),
                LeftUpperLeg=about(x=-40 * swing),
                LeftLowerLeg=about(x=bend),
                RightUpperLeg=about(x=-40 * (1 + swing)),
                RightLowerLeg=about(x=bend),
            )
        )
    return frames


UNIX_NS = 1_700_000_000_000_000_000


def pose_frames(
    frames: list[np.ndarray],
    id: str = "a",
    root: tuple[float, float, float] | None = (0.1, 0.2, 3.0),
    frame_id: str = "cam0_optical_frame",
    lost_after: bool = False,
) -> list[PoseFrame]:
    """Frames of one person with these joints (17, 3), 50 a second; lost_after: one more, in which it is
    lost.
    """
    step, answers = JointRotations(), []
    for n in range(len(frames) + lost_after):
        lost = n == len(frames)
        xyz = np.full((17, 3), np.nan) if lost else frames[n]
        state = "lost" if lost else "ok" if n else "new"
        ones = np.zeros(17) if lost else np.ones(17)
        place = None if lost or root is None else np.array(root, np.float32)
        pose = Pose(
            id,
            state,
            xyz.astype(np.float32),
            ones.astype(np.float32),
            ones.astype(np.uint8),
            place,
            "metric",
        )
        header = Header("cam0", n, n * 10**9 // HZ, UNIX_NS + n * 10**9 // HZ)
        batch = PoseBatch.from_poses("h36m17", header, (640, 480), [pose], frame_id)
        step.apply(batch)
        answers.append(PoseFrame(header, (batch.pose(0),), frame_id=frame_id, session="s"))
    return answers
