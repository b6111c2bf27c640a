"""A walking person as a pure function of time, and a camera to see them with: 3D truth for tests and demos.

World axes: x and y along the floor, z up, metres. Camera axes: x right, y down, z forward.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.skeletons import skeleton_named

F64 = NDArray[np.float64]

_UP = np.array([0.0, 0.0, 1.0])
_JOINT = {name: index for index, name in enumerate(skeleton_named("h36m17").joints)}

# Segment lengths as fractions of body height.
_THIGH, _SHIN, _ANKLE = 0.240, 0.245, 0.050
_HIP, _SHOULDER, _UPPER_ARM, _FOREARM = 0.050, 0.102, 0.165, 0.140
_STANCE = 0.45  # part of a stride during which the ankle rests


@dataclass(frozen=True, slots=True)
class Walk:
    """Who walks where: counter-clockwise on a circle, in whole strides, starting `start_rad` along it."""

    height_m: float = 1.75
    speed_m_s: float = 1.15
    centre_m: tuple[float, float] = (0.0, 0.0)
    radius_m: float = 2.2
    start_rad: float = 0.0
    stride_phase: float = 0.0  # 0..1: where in a stride the walk begins

    @property
    def lap_m(self) -> float:
        return 2 * np.pi * self.radius_m

    @property
    def stride_m(self) -> float:
        # From one touch-down of a foot to its next; whole ones per lap, so that a lap can be repeated.
        return self.lap_m / round(self.lap_m / (0.72 * self.height_m))

    def ground(self, along_m: float) -> tuple[F64, F64, F64]:
        """Point of the path, forward and left unit vectors there, each (3,)."""
        angle = self.start_rad + along_m / self.radius_m
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        return np.array([*self.centre_m, 0.0]) + self.radius_m * outward, np.cross(_UP, outward), -outward


def figure(t_s: float, walk: Walk) -> F64:
    """Joints of the walker at time `t_s`: (17, 3) float64 world metres, order of h36m17."""
    along_m = walk.speed_m_s * t_s
    stride = along_m / walk.stride_m + walk.stride_phase  # whole numbers: the right heel touches down
    height = walk.height_m
    swing = np.cos(2 * np.pi * stride)  # 1: right leg and left arm in front
    ground, forward, left = walk.ground(along_m)

    xyz = np.empty((17, 3))
    xyz[0] = ground + _UP * (0.502 + 0.010 * np.cos(4 * np.pi * (stride - 0.25))) * height
    xyz[0] -= left * 0.012 * height * np.sin(2 * np.pi * stride)  # over the foot that carries
    across, ahead = _turned(left, forward, 0.10 * swing)
    for side, name, offset in ((1, "left", 0.5), (-1, "right", 0.0)):
        hip = xyz[0] + side * _HIP * height * across
        ankle = _ankle(stride + offset, side, walk)
        xyz[_JOINT[f"{name}_hip"]] = hip
        xyz[_JOINT[f"{name}_knee"]], xyz[_JOINT[f"{name}_ankle"]] = _leg(hip, ankle, ahead, height)

    across, ahead = _turned(left, forward, -0.16 * swing)
    spine = _UP + 0.06 * forward
    xyz[_JOINT["thorax"]] = thorax = xyz[0] + 0.285 * height * spine
    xyz[_JOINT["spine"]] = xyz[0] + 0.125 * height * spine - 0.012 * height * ahead
    xyz[_JOINT["neck_nose"]] = thorax + (0.045 * _UP + 0.040 * forward) * height
    xyz[_JOINT["head_top"]] = thorax + (0.135 * _UP + 0.015 * forward) * height
    for side, name in ((1, "left"), (-1, "right")):
        shoulder = thorax + side * _SHOULDER * height * across - 0.008 * height * _UP
        lift = 0.05 + side * 0.42 * swing  # radians forward; opposite to the leg of that side
        elbow = shoulder + _UPPER_ARM * height * _hanging(lift, ahead, side * 0.13 * across)
        bend = 0.35 + 0.25 * side * swing
        wrist = elbow + _FOREARM * height * _hanging(lift + bend, ahead, side * 0.05 * across)
        for joint, at in (("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist)):
            xyz[_JOINT[f"{name}_{joint}"]] = at
    return xyz


def _turned(left: F64, forward: F64, angle_rad: float) -> tuple[F64, F64]:
    """Left and forward after a turn to the left about the vertical."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return cos * left - sin * forward, cos * forward + sin * left


def _hanging(lift_rad: float, forward: F64, outward: F64) -> F64:
    """Unit vector of an arm segment that hangs down, lifted forward."""
    way = -np.cos(lift_rad) * _UP + np.sin(lift_rad) * forward + outward
    unit: F64 = way / np.linalg.norm(way)
    return unit


def _ankle(stride: float, side: int, walk: Walk) -> F64:
    """Where the ankle is: at rest on the floor, then the heel rises and the foot swings to its next rest."""
    whole = np.floor(stride)
    swung = max(0.0, (stride - whole - _STANCE) / (1 - _STANCE))
    ease = swung**2 * (3 - 2 * swung)  # starts and ends at rest
    offset = 0.5 if side > 0 else 0.0
    # Touches down a fifth of a stride ahead of the body.
    along_m = (whole + ease - offset - walk.stride_phase + 0.21) * walk.stride_m
    ground, _, left = walk.ground(along_m)
    rise = _ANKLE + 0.070 * np.sin(np.pi * swung * (1.5 - 0.5 * swung)) ** 2
    at: F64 = ground + side * 0.042 * walk.height_m * left + rise * walk.height_m * _UP
    return at


def _leg(hip: F64, ankle: F64, ahead: F64, height: float) -> tuple[F64, F64]:
    """Knee and ankle of a leg of fixed lengths; knees bend forward. An ankle out of reach is drawn in."""
    thigh, shin = _THIGH * height, _SHIN * height
    reach = ankle - hip
    distance = min(float(np.linalg.norm(reach)), 0.998 * (thigh + shin))
    along = reach / np.linalg.norm(reach)
    front = ahead - (ahead @ along) * along
    front /= np.linalg.norm(front)
    down = (thigh**2 - shin**2 + distance**2) / (2 * distance)
    knee = hip + down * along + np.sqrt(max(thigh**2 - down**2, 0.0)) * front
    return knee, hip + distance * along


@dataclass(frozen=True, slots=True)
class VirtualCamera:
    """A camera without distortion: focal length in pixels, principal point in the middle."""

    size_wh: tuple[int, int] = (1280, 720)
    focal_px: float = 1000.0
    position_m: tuple[float, float, float] = (6.0, 0.0, 1.4)
    looks_at_m: tuple[float, float, float] = (0.0, 0.0, 0.95)

    @property
    def rotation(self) -> F64:
        """(3, 3): rows are the camera's right, down and forward in world axes."""
        forward = np.subtract(self.looks_at_m, self.position_m)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, _UP)
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def view(self, world: F64) -> F64:
        """World points (..., 3) in camera axes, metres."""
        seen: F64 = (world - np.array(self.position_m)) @ self.rotation.T
        return seen

    def project(self, camera: F64) -> F64:
        """Pixels (..., 2) of points (..., 3) in camera axes; NaN for what lies behind the camera."""
        depth = np.where(camera[..., 2:] > 0, camera[..., 2:], np.nan)
        pixels: F64 = self.focal_px * camera[..., :2] / depth + np.array(self.size_wh) / 2
        return pixels
