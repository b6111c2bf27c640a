"""People of known shape before cameras of known place, as the steps after lifting get them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from sources.walking_figure import VirtualCamera as Lens
from sources.walking_figure import Walk, figure
from stream.cameras.intrinsics import CameraSettings
from stream.messages import Header, JointOrigin, Pose, PoseFrame
from stream.postprocess.batch import PoseBatch, PostProcessor
from stream.postprocess.smoothing import Smoother
from stream.scene.root_position import RootPosition

SIZE_WH = (1280, 720)
CALIBRATED = CameraSettings(size_wh=SIZE_WH, fx=1000, fy=1000, cx=640, cy=360)
WALK = Walk(height_m=1.71, radius_m=1.2)
LEFT, RIGHT = 6, 3  # ankles
Motion = Callable[[float], np.ndarray]  # seconds to (17, 3) metres in the world


def finished(step: PostProcessor, frame: PoseFrame, size_wh: tuple[int, int] = SIZE_WH) -> PoseFrame:
    """The frame after a step, all alone in its batch."""
    batch = PoseBatch.of(frame.skeleton, frame.header, size_wh, frame.persons, frame.frame_id)
    step.apply(batch)
    (moment,) = batch.frames
    if moment.before is not None:
        moment.before()
    return replace(frame, persons=tuple(batch.pose(row) for row in moment.rows), frame_id=moment.frame_id)


def remembered(step: RootPosition | Smoother, source: str = "cam0") -> list[str]:
    """The ids of those of whom a step keeps anything."""
    return list(step._people._people._known[source][1])


def walking(t_s: float) -> np.ndarray:
    return figure(t_s, WALK)


def standing(t_s: float) -> np.ndarray:
    """Someone who swings their arms, on the spot."""
    joints = figure(0.0, Walk(height_m=1.71, radius_m=1e6, centre_m=(-1e6, 0.0)))
    for side, (ankle, knee, hip) in ((1, (6, 5, 4)), (-1, (3, 2, 1))):
        joints[hip] = (0.0, 0.085 * side, 0.86)
        joints[knee], joints[ankle] = joints[hip] - [-0.02, 0, 0.39], joints[hip] - [0, 0, 0.775]
    joints[:1] = (0.0, 0.0, 0.86)
    joints[[8, 7]] = [(0.0, 0.0, 1.35), (0.0, 0.0, 1.08)]
    joints[[13, 16], 0] += 0.5 * math.sin(2 * t_s)
    return joints


_LENS = Lens(SIZE_WH, 1000.0, (6.0, 0.0, 1.6), (0.0, 0.0, 0.9))


@dataclass(frozen=True)
class Scene:
    """A camera, rolled by roll_rad about its line of sight."""

    lens: Lens = _LENS
    roll_rad: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3): rows are the camera's right, down and forward in the world."""
        cos, sin = math.cos(self.roll_rad), math.sin(self.roll_rad)
        return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) @ self.lens.rotation

    def view(self, world: np.ndarray) -> np.ndarray:
        return (world - np.array(self.lens.position_m)) @ self.matrix.T

    def pose(self, world: np.ndarray, id: str = "a", hidden: Iterable[int] = (), **changes) -> Pose:
        """Joints (17, 3) in the world, seen and lifted without error."""
        joints = self.view(world)
        score = np.ones(17, np.float32)
        score[list(hidden)] = 0
        kp2d = np.concatenate([self.lens.project(joints), score[:, None]], axis=1)
        origin = np.where(score > 0, JointOrigin.OBSERVED, JointOrigin.PREDICTED).astype(np.uint8)
        values = {"state": "ok", "xyz": joints - joints[0], "score": score, "origin": origin, "kp2d": kp2d}
        values |= {"xyz": values["xyz"].astype(np.float32), "kp2d": kp2d.astype(np.float32)}
        return Pose(id=id, **(values | changes))

    def placed(self, *poses: Pose, at_s: float, source: str = "cam0", **settings) -> PoseFrame:
        """A frame of these people with the roots they have."""
        at_ns = round(at_s * 1e9)
        header = Header(source, round(at_s * 50), at_ns, at_ns)
        step = RootPosition(RootPosition.Settings(cameras={source: CALIBRATED}, **settings))
        return finished(step, PoseFrame(header, poses, frame_id=f"{source}_optical_frame"))
