"""BVH files: joint rotations at a constant rate, for Blender, MotionBuilder and retargeters.

Every stay of a person becomes one file. Rows are written at once; the number of frames and the offsets,
which are means over the stay, stand in the header at a fixed width and are rewritten every second, so that a
file whose writer was killed still opens and lacks at most the last second.
"""

import math
from io import FileIO
from pathlib import Path
from typing import Literal

import numpy as np

from sinks.humanoid import RigFrame, SteadyRate, rig_frame
from sinks.recording_path import RotationSettings, TakeNames, check_suffix, recording_path, write_error
from stream.errors import ConfigError
from stream.messages import Message, PoseFrame
from stream.protocols import ComponentContext
from stream.rig import HUMANOID
from stream.rotations import F64, matrices

CM = 100.0
NAMES = {"Chest": "Spine2"} | {
    f"{side}{ours}": f"{side}{theirs}"
    for side in ("Left", "Right")
    for ours, theirs in (
        ("UpperArm", "Arm"),
        ("LowerArm", "ForeArm"),
        ("UpperLeg", "UpLeg"),
        ("LowerLeg", "Leg"),
    )
}
# End sites in rest axes, cm: top of the head, finger tips, toes.
_ENDS = {
    "Head": (0.0, 16.0, 0.0),
    "LeftHand": (18.0, 0.0, 0.0),
    "RightHand": (-18.0, 0.0, 0.0),
    "LeftFoot": (0.0, -6.0, 18.0),
    "RightFoot": (0.0, -6.0, 18.0),
}
_LEFT, _UP, _AHEAD = np.eye(3)


def _lafan1(bone: str) -> F64:
    """Axes x, y, z of a bone in LAFAN1's skeleton, as columns in rest axes."""
    if "Leg" in bone or "Foot" in bone:
        return np.stack([-_UP, _AHEAD, -_LEFT], axis=1)
    if bone.startswith("Left"):
        return np.stack([_LEFT, -_AHEAD, _UP], axis=1)
    if bone.startswith("Right"):
        return np.stack([-_LEFT, -_AHEAD, -_UP], axis=1)
    return np.stack([_UP, _AHEAD, _LEFT], axis=1)


_AXES: dict[str, F64] = {
    "tpose": np.tile(np.eye(3), (len(HUMANOID.bones), 1, 1)),
    "lafan1": np.stack([_lafan1(bone) for bone in HUMANOID.bones]),
}
_CHILDREN = {
    bone: [n for n, parent in enumerate(HUMANOID.parents) if parent == bone]
    for bone in range(len(HUMANOID.bones))
}


class BVH:
    """Writes a BVH file for every stay of a person."""

    class Settings(RotationSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """path: file of the first person; {time} in it becomes the time of opening in UTC, {id} the person's
        id. Without {id}, files of further persons get their id appended.
        fps: frames per second of the file; poses are interpolated to it.
        bones: tpose has all rotations zero in the rest pose; lafan1 has the bone axes of the LAFAN1 data
        set, which retargeters for robots expect.
        """

        path: str = "poses.bvh"
        fps: float = 50.0
        bones: Literal["tpose", "lafan1"] = "tpose"

        def __post_init__(self) -> None:
            check_suffix(self.path, ".bvh")
            self.check_limits("bvh")
            if not 1 <= self.fps <= 1000:
                raise ConfigError(f"bvh fps: expected 1 to 1000, got {self.fps}")

    close_timeout_s = 5.0

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._path = recording_path(settings.path, context)
        self._takes: dict[tuple[str, str], _TakeFile] = {}  # by source and person
        self._names = TakeNames(self._path, settings.overwrite)

    @property
    def endpoint(self) -> str:
        return str(self._path)

    def open(self) -> None:
        """Nothing is written before the first person appears."""

    def close(self) -> None:
        for take in self._takes.values():
            take.close()
        self._takes.clear()

    def send(self, message: Message) -> None:
        if not isinstance(message, PoseFrame):
            return
        for person in message.persons:
            key = message.header.source, person.id
            if person.state == "lost":
                if take := self._takes.pop(key, None):
                    take.close()
            elif (rig := rig_frame(message, person)) is not None:
                if key not in self._takes:
                    self._takes[key] = _TakeFile(
                        self._names.next(person.id), self._settings.fps, self._settings.bones
                    )
                take = self._takes[key]
                take.push(rig)
                if self._settings.is_full(take.size, take.seconds):
                    self._takes.pop(key).close()  # the next pose of the person begins the next file


class _TakeFile:
    """One open file."""

    def __init__(self, path: Path, fps: float, bones: str) -> None:
        self._path = path
        self._fps = fps
        self._axes = _AXES[bones]
        self._steady = SteadyRate(fps)
        self._frames = 0
        self._rest: F64 = np.zeros((len(HUMANOID.bones), 3))
        try:
            self._file = FileIO(path, "w")
            self._file.write(self._header())
        except OSError as error:
            raise write_error(path, error) from error

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    @property
    def seconds(self) -> float:
        """Duration of the motion so far."""
        return self._frames / self._fps

    def push(self, rig: RigFrame) -> None:
        rows = []
        for frame in self._steady.push(rig):
            self._frames += 1
            self._rest += (frame.rest - self._rest) / self._frames
            rows.append(_row(frame, self._axes))
        try:
            self._file.write("".join(rows).encode())
            if rows and self._frames % math.ceil(self._fps) < len(rows):
                self._rewrite_header()
        except OSError as error:
            raise write_error(self._path, error) from error

    def close(self) -> None:
        try:
            self._rewrite_header()
            self._file.close()
        except OSError as error:
            raise write_error(self._path, error) from error

    def _rewrite_header(self) -> None:
        end = self._file.tell()
        self._file.seek(0)
        self._file.write(self._header())
        self._file.seek(end)

    def _header(self) -> bytes:
        lines = ["HIERARCHY"]
        _hierarchy(lines, 0, self._rest * CM, self._axes, "")
        lines += ["MOTION", f"Frames: {self._frames:09d}", f"Frame Time: {1 / self._fps:.8f}"]
        return ("\n".join(lines) + "\n").encode()


def _hierarchy(lines: list[str], bone: int, rest_cm: F64, axes: F64, indent: str) -> None:
    name, parent = HUMANOID.bones[bone], HUMANOID.parents[bone]
    offset = np.zeros(3) if parent < 0 else axes[parent].T @ rest_cm[bone]
    position = "6 Xposition Yposition Zposition" if parent < 0 else "3"
    lines.append(f"{indent}{'ROOT' if parent < 0 else 'JOINT'} {NAMES.get(name, name)}")
    lines.append(f"{indent}{{")
    inside = indent + "  "
    lines.append(f"{inside}OFFSET {_fixed(offset)}")
    lines.append(f"{inside}CHANNELS {position} Zrotation Yrotation Xrotation")
    for child in _CHILDREN[bone]:
        _hierarchy(lines, child, rest_cm, axes, inside)
    if name in _ENDS:
        end = axes[bone].T @ np.array(_ENDS[name])
        lines += [f"{inside}End Site", f"{inside}{{", f"{inside}  OFFSET {_fixed(end)}", f"{inside}}}"]
    lines.append(f"{indent}}}")


def _fixed(values: F64) -> str:
    """Numbers of equal width, so that a header can be rewritten in place."""
    return " ".join(f"{value + 0.0:011.6f}" for value in values.round(6) + 0.0)


def _row(frame: RigFrame, axes: F64) -> str:
    """Position of the hips in cm, then Z, Y and X rotations in degrees, bone by bone."""
    local = matrices(frame.quat)
    parents = np.array(HUMANOID.parents)
    turned = local @ axes
    turned[1:] = np.swapaxes(axes[parents[1:]], -1, -2) @ turned[1:]
    values = [*(frame.hips * CM), *np.degrees(euler_zyx(turned)).ravel()]
    return " ".join(f"{value:.6f}" for value in values) + "\n"


def euler_zyx(rotations: F64) -> F64:
    """Angles (..., 3) in radians about z, y, x with R = Rz @ Ry @ Rx, of rotations (..., 3, 3)."""
    sine = np.clip(-rotations[..., 2, 0], -1.0, 1.0)
    y = np.arcsin(sine)
    locked = np.abs(sine) > 1 - 1e-9  # z and x turn about the same axis: all of it is given to z
    z = np.where(
        locked,
        np.arctan2(-rotations[..., 0, 1], rotations[..., 1, 1]),
        np.arctan2(rotations[..., 1, 0], rotations[..., 0, 0]),
    )
    x = np.where(locked, 0.0, np.arctan2(rotations[..., 2, 1], rotations[..., 2, 2]))
    return np.stack([z, y, x], axis=-1)
