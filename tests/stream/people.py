"""People of known shape before cameras of known placement, as post-processors get them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from sources.walking_figure import VirtualCamera, Walk, figure
from stream.cameras.intrinsics import Camera
from stream.messages import Header, JointOrigin, Pose, PoseFrame
from stream.postprocess.batch import PoseBatch, PostProcessor
from stream.rotations import axis_rotation
from stream.scene.root_position import RootPosition
from stream.skeletons import skeleton_named

SIZE_WH = (1280, 720)
INTRINSICS = Camera.Settings(size_wh=SIZE_WH, fx=1000, fy=1000, cx=640, cy=360)
WALK = Walk(height_m=1.71, radius_m=1.2)
JOINT = {name: index for index, name in enumerate(skeleton_named("h36m17").joints)}
LEFT_ANKLE, RIGHT_ANKLE, HEAD_TOP = JOINT["left_ankle"], JOINT["right_ankle"], JOINT["head_top"]
Motion = Callable[[float], np.ndarray]  # seconds to (17, 3) metres in the world


def processed(step: PostProcessor, frame: PoseFrame, size_wh: tuple[int, int] = SIZE_WH) -> PoseFrame:
    """The frame after a step, alone in its batch."""
    batch = PoseBatch.from_poses(frame.skeleton, frame.header, size_wh, frame.persons, frame.frame_id)
    step.apply(batch)
    (after,) = batch.frames
    return replace(frame, persons=tuple(batch.pose(row) for row in after.rows), frame_id=after.frame_id)


def walking(t_s: float) -> np.ndarray:
    return figure(t_s, WALK)


def standing(t_s: float) -> np.ndarray:
    """A person who swings both arms, on the spot."""
    joints = figure(0.0, Walk(height_m=1.71, radius_m=1e6, centre_m=(-1e6, 0.0)))
    for side, name in ((1, "left"), (-1, "right")):
        hip = np.array([0.0, 0.085 * side, 0.86])
        joints[JOINT[f"{name}_hip"]] = hip
        joints[JOINT[f"{name}_knee"]] = hip - [-0.02, 0, 0.39]
        joints[JOINT[f"{name}_ankle"]] = hip - [0, 0, 0.775]
        joints[JOINT[f"{name}_wrist"], 0] += 0.5 * math.sin(2 * t_s)
    joints[JOINT["pelvis"]] = (0.0, 0.0, 0.86)
    joints[JOINT["thorax"]], joints[JOINT["spine"]] = (0.0, 0.0, 1.35), (0.0, 0.0, 1.08)
    return joints


_CAMERA = VirtualCamera(SIZE_WH, 1000.0, (6.0, 0.0, 1.6), (0.0, 0.0, 0.9))


@dataclass(frozen=True)
class Scene:
    """A camera, rolled by roll_rad about its line of sight."""

    camera: VirtualCamera = _CAMERA
    roll_rad: float = 0.0

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3): rows are the camera's right, down and forward in the world."""
        return axis_rotation(2, -self.roll_rad) @ self.camera.rotation

    def view(self, world: np.ndarray) -> np.ndarray:
        """Points (..., 3) in camera axes of world points (..., 3)."""
        return (world - np.array(self.camera.position_m)) @ self.rotation.T

    def pose(self, world: np.ndarray, id: str = "a", hidden: Iterable[int] = (), **changes) -> Pose:
        """Joints (17, 3) in the world, detected and lifted without error."""
        joints = self.view(world)
        score = np.ones(17, np.float32)
        score[list(hidden)] = 0
        kp2d = np.concatenate([self.camera.project(joints), score[:, None]], axis=1)
        origin = np.where(score > 0, JointOrigin.OBSERVED, JointOrigin.PREDICTED).astype(np.uint8)
        values = {
            "state": "ok",
            "xyz": (joints - joints[0]).astype(np.float32),
            "score": score,
            "origin": origin,
            "kp2d": kp2d.astype(np.float32),
        }
        return Pose(id=id, **(values | changes))

    def with_roots(self, *poses: Pose, at_s: float, source: str = "cam0", **settings) -> PoseFrame:
        """A frame of these people with their roots, in camera axes."""
        at_ns = round(at_s * 1e9)
        header = Header(source, round(at_s * 50), at_ns, at_ns)
        step = RootPosition(RootPosition.Settings(cameras={source: INTRINSICS}, **settings))
        return processed(step, PoseFrame(header, poses, frame_id=f"{source}_optical_frame"))
