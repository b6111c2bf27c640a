"""A walking person as a pure function of time, and a virtual camera: 3D ground truth for tests and demos.

World axes: x and y along the floor, z up, metres. Camera axes: x right, y down, z forward.
"""

from dataclasses import dataclass

import numpy as np

from stream.cameras.intrinsics import Camera
from stream.rotations import F64, look_at
from stream.skeletons import skeleton_named

_UP = np.array([0.0, 0.0, 1.0])
_JOINT = {name: index for index, name in enumerate(skeleton_named("h36m17").joints)}

# Segment lengths as fractions of body height.
_THIGH, _SHIN, _ANKLE = 0.240, 0.245, 0.050
_HIP, _SHOULDER, _UPPER_ARM, _FOREARM = 0.050, 0.102, 0.165, 0.140
_STANCE = 0.45  # part of a stride during which the ankle rests
_MAX_LEG_STRETCH = 0.998  # of thigh and shin together, so that the knee never locks


@dataclass(frozen=True, slots=True)
class Walk:
    """A person who walks counter-clockwise on a circle in whole strides, starting at the angle start_rad.

    stride_phase: 0..1, where in a stride the walk begins.
    """

    height_m: float = 1.75
    speed_m_s: float = 1.15
    centre_m: tuple[float, float] = (0.0, 0.0)
    radius_m: float = 2.2
    start_rad: float = 0.0
    stride_phase: float = 0.0

    @property
    def lap_m(self) -> float:
        """Length of the circle."""
        return 2 * np.pi * self.radius_m

    @property
    def stride_m(self) -> float:
        """Distance between two touch-downs of one foot; a lap is a whole number of strides."""
        return self.lap_m / round(self.lap_m / (0.72 * self.height_m))

    def ground(self, along_m: float) -> tuple[F64, F64, F64]:
        """Point of the path after `along_m`, forward and left unit vectors there, each (3,) float64."""
        angle = self.start_rad + along_m / self.radius_m
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        return np.array([*self.centre_m, 0.0]) + self.radius_m * outward, np.cross(_UP, outward), -outward


def figure(t_s: float, walk: Walk) -> F64:
    """Joints of the walker at time `t_s`: (17, 3) float64 world metres, order of h36m17."""
    along_m = walk.speed_m_s * t_s
    stride = along_m / walk.stride_m + walk.stride_phase  # at whole numbers the right heel touches down
    height = walk.height_m
    swing = np.cos(2 * np.pi * stride)  # 1: right leg and left arm in front
    ground, forward, left = walk.ground(along_m)

    xyz = np.empty((17, 3))
    xyz[0] = ground + _UP * (0.502 + 0.010 * np.cos(4 * np.pi * (stride - 0.25))) * height
    xyz[0] -= left * 0.012 * height * np.sin(2 * np.pi * stride)  # towards the foot that carries
    hip_left, hip_forward = _turned(left, forward, 0.10 * swing)
    for side, name, offset in ((1, "left", 0.5), (-1, "right", 0.0)):
        hip = xyz[0] + side * _HIP * height * hip_left
        ankle = _ankle(stride + offset, side, walk)
        xyz[_JOINT[f"{name}_hip"]] = hip
        xyz[_JOINT[f"{name}_knee"]], xyz[_JOINT[f"{name}_ankle"]] = _leg(hip, ankle, hip_forward, height)

    chest_left, chest_forward = _turned(left, forward, -0.16 * swing)
    spine = _UP + 0.06 * forward
    xyz[_JOINT["thorax"]] = thorax = xyz[0] + 0.285 * height * spine
    xyz[_JOINT["spine"]] = xyz[0] + 0.125 * height * spine - 0.012 * height * chest_forward
    xyz[_JOINT["neck_nose"]] = thorax + (0.045 * _UP + 0.040 * forward) * height
    xyz[_JOINT["head_top"]] = thorax + (0.135 * _UP + 0.015 * forward) * height
    for side, name in ((1, "left"), (-1, "right")):
        shoulder = thorax + side * _SHOULDER * height * chest_left - 0.008 * height * _UP
        lift_rad = 0.05 + side * 0.42 * swing  # forward; opposite to the leg of that side
        elbow = shoulder + _UPPER_ARM * height * _hanging(lift_rad, chest_forward, side * 0.13 * chest_left)
        bend_rad = 0.35 + 0.25 * side * swing
        wrist = elbow + _FOREARM * height * _hanging(
            lift_rad + bend_rad, chest_forward, side * 0.05 * chest_left
        )
        for joint, point in (("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist)):
            xyz[_JOINT[f"{name}_{joint}"]] = point
    return xyz


def _turned(left: F64, forward: F64, angle_rad: float) -> tuple[F64, F64]:
    """Left and forward vectors after a turn to the left about the vertical."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return cos * left - sin * forward, cos * forward + sin * left


def _hanging(lift_rad: float, forward: F64, outward: F64) -> F64:
    """Unit vector (3,) of an arm segment that hangs down, lifted forward."""
    segment = -np.cos(lift_rad) * _UP + np.sin(lift_rad) * forward + outward
    unit: F64 = segment / np.linalg.norm(segment)
    return unit


def _ankle(stride: float, side: int, walk: Walk) -> F64:
    """The ankle (3,): at rest on the floor, then the heel rises and the foot swings to its next rest."""
    touch_down = np.floor(stride)
    swung = max(0.0, (stride - touch_down - _STANCE) / (1 - _STANCE))
    ease = swung**2 * (3 - 2 * swung)  # starts and ends at rest
    offset = 0.5 if side > 0 else 0.0
    # Touches down a fifth of a stride ahead of the body.
    along_m = (touch_down + ease - offset - walk.stride_phase + 0.21) * walk.stride_m
    ground, _, left = walk.ground(along_m)
    rise = _ANKLE + 0.070 * np.sin(np.pi * swung * (1.5 - 0.5 * swung)) ** 2
    ankle: F64 = ground + side * 0.042 * walk.height_m * left + rise * walk.height_m * _UP
    return ankle


def _leg(hip: F64, ankle: F64, forward: F64, height: float) -> tuple[F64, F64]:
    """Knee and ankle of a leg of fixed lengths; knees bend forward. A foot too far away is pulled in."""
    thigh, shin = _THIGH * height, _SHIN * height
    reach = ankle - hip
    distance = min(float(np.linalg.norm(reach)), _MAX_LEG_STRETCH * (thigh + shin))
    along = reach / np.linalg.norm(reach)
    front = forward - (forward @ along) * along
    front /= np.linalg.norm(front)
    down = (thigh**2 - shin**2 + distance**2) / (2 * distance)
    knee = hip + down * along + np.sqrt(max(thigh**2 - down**2, 0.0)) * front
    return knee, hip + distance * along


@dataclass(frozen=True, slots=True)
class VirtualCamera:
    """A level camera without distortion, its principal point in the middle of the image."""

    size_wh: tuple[int, int] = (1280, 720)
    focal_px: float = 1000.0
    position_m: tuple[float, float, float] = (6.0, 0.0, 1.4)
    looks_at_m: tuple[float, float, float] = (0.0, 0.0, 0.95)

    @property
    def rotation(self) -> F64:
        """(3, 3): rows are the camera's right, down and forward in world axes."""
        return look_at(np.subtract(self.looks_at_m, self.position_m)).T

    def view(self, world: F64) -> F64:
        """Points (..., 3) in camera axes of world points (..., 3), metres."""
        camera: F64 = (world - np.array(self.position_m)) @ self.rotation.T
        return camera

    def project(self, camera: F64) -> F64:
        """Pixels (..., 2) of points (..., 3) in camera axes; points behind the camera are NaN."""
        centre = self.size_wh[0] / 2, self.size_wh[1] / 2
        return Camera((self.focal_px, self.focal_px), centre).project(camera)
