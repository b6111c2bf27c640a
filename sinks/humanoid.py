"""What the sinks for avatars share: rigs in y-up axes, their names in other tools, and a steady frame rate.

Rotations of `stream.rig` are local, so only the first bone, Hips, depends on the axes of the poses. Here it
is turned into the y-up axes of BVH, glTF, VRM and three.js, such that a person who faces the camera, or looks
against x of a world, along which a camera at its origin looks, faces the viewer in every tool.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from stream.messages import F32, Pose, PoseFrame
from stream.rig import HUMANOID
from stream.rotations import F64, matrices, quaternions

BONES = HUMANOID.bones
# Rows: y-up axes in the axes of a camera (x right, y down, z forward), and of a world with z up.
_FROM_CAMERA = np.diag([1.0, -1.0, -1.0])
_FROM_WORLD = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
_FEET = [HUMANOID.index["LeftFoot"], HUMANOID.index["RightFoot"]]
_HIPS_HEIGHT_M = 0.85  # of a person whose legs are not known yet


@dataclass(frozen=True, slots=True, eq=False)
class RigFrame:
    """One person at one time in y-up axes.

    quat (B, 4) float64, x y z w, local; rest (B, 3) float64 m; hips (3,) float64 m: the pelvis, y above the
    floor.
    """

    captured_ns: int
    quat: F64
    rest: F64
    hips: F64


def rig_frame(frame: PoseFrame, person: Pose) -> RigFrame | None:
    """The person's rig in y-up axes; None for a lost person, or one without rotations.

    In a world frame the pelvis has its true height. In a camera's axes no floor is known: there the lower
    foot is put on the floor, and only the ground position follows the camera.
    """
    rotations = person.rotations
    if rotations is None or not np.isfinite(rotations.quat).all():
        return None
    in_camera = frame.frame_id.endswith("_optical_frame")
    axes = _FROM_CAMERA if in_camera else _FROM_WORLD
    quat, rest = rotations.quat.astype(np.float64), rotations.rest.astype(np.float64)
    quat[0] = quaternions(axes @ matrices(quat[0]))
    hips = np.zeros(3) if person.root is None else axes @ person.root.astype(np.float64)
    if in_camera or person.root is None:
        hips[1] = hips_height(quat, rest)
    return RigFrame(frame.header.captured_unix_ns, quat, rest, hips)


def hips_height(quat: F64, rest: F64) -> float:
    """Height in metres of the pelvis above the lower ankle."""
    heads = HUMANOID.forward(matrices(quat), rest, np.zeros(3))
    height = -float(heads[_FEET, 1].min())
    return height if height > 0 else _HIPS_HEIGHT_M


def between(first: RigFrame, second: RigFrame, at_ns: int) -> RigFrame:
    """The rig at a time between two frames: rotations by normalised linear interpolation, which is the slerp
    of all but large angles, positions linearly.
    """
    share = (at_ns - first.captured_ns) / max(second.captured_ns - first.captured_ns, 1)
    sign = np.where(np.einsum("bi,bi->b", first.quat, second.quat) < 0, -1.0, 1.0)[:, None]
    quat = (1 - share) * first.quat + share * sign * second.quat
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    return RigFrame(at_ns, quat, second.rest, (1 - share) * first.hips + share * second.hips)


class SteadyRate:
    """Frames of one person at a constant rate, interpolated between those that come.

    Gaps up to `max_hold_s` are filled with the last rig; after a longer one a new sequence begins.
    """

    def __init__(self, fps: float, max_hold_s: float = 1.0) -> None:
        self._step_ns = round(1e9 / fps)
        self._max_hold_ns = round(max_hold_s * 1e9)
        self._last: RigFrame | None = None
        self._next_ns = 0

    def push(self, frame: RigFrame) -> Iterator[RigFrame]:
        """The frames of the steady rate up to this one; frames that are not newer are dropped."""
        last = self._last
        if last is not None and frame.captured_ns <= last.captured_ns:
            return
        if last is None:
            self._next_ns = frame.captured_ns
        self._last = frame
        while self._next_ns <= frame.captured_ns:
            at_ns = self._next_ns
            self._next_ns += self._step_ns
            if last is None:
                yield frame
            elif frame.captured_ns - last.captured_ns > self._max_hold_ns:
                yield replace(last, captured_ns=at_ns)
            else:
                yield between(last, frame, at_ns)


def positions(frame: RigFrame) -> F32:
    """Heads (B, 3) float32 m of the bones, by forward kinematics."""
    return HUMANOID.forward(matrices(frame.quat), frame.rest, frame.hips).astype(np.float32)
