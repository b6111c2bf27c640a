"""glTF 2.0 animations of a person: `.glb` for Blender, three.js and Godot, `.vrma` for VRM avatars.

One binary file for every stay of a person, written when the person is lost or the sink is closed.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinks.humanoid import RigFrame, SteadyRate, rig_frame
from sinks.recording_path import RotationSettings, TakeNames, recording_path, write_error
from stream.errors import ConfigError
from stream.files.cache import write_atomically
from stream.messages import Message, PoseFrame
from stream.protocols import ComponentContext
from stream.rig import HUMANOID
from stream.rotations import F64

MAX_S = 7200
_FLOAT = 5126
_FRAME_BYTES = 4 * (1 + 3 + 4 * len(HUMANOID.bones))  # time, position of the hips, a quaternion per bone
_NODES = tuple(bone[0].lower() + bone[1:] for bone in HUMANOID.bones)  # VRM's names


class GLTF:
    """Writes a .glb or .vrma file for every stay of a person."""

    class Settings(RotationSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """path: file of the first person, ending in .glb or .vrma; {time} becomes the time of opening in
        UTC, {id} the person's id. Without {id}, files of further persons get their id appended.
        fps: frames per second of the animation; poses are interpolated to it.
        max_s: seconds after which the next file of a person begins, up to 7200: until then it is in memory.
        """

        path: str = "poses.glb"
        fps: float = 50.0
        max_s: float | None = 600.0

        def __post_init__(self) -> None:
            if not self.path.endswith((".glb", ".vrma")):
                raise ConfigError(f"path: expected a file ending in .glb or .vrma, got {self.path!r}")
            if not 1 <= self.fps <= 1000:
                raise ConfigError(f"gltf fps: expected 1 to 1000, got {self.fps}")
            self.check_limits("gltf")
            if self.max_s is None or self.max_s > MAX_S:
                raise ConfigError(f"gltf max_s: expected seconds up to {MAX_S}, got {self.max_s}")

    close_timeout_s = 30.0

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._path = recording_path(settings.path, context)
        self._names = TakeNames(self._path, settings.overwrite)
        self._takes: dict[tuple[str, str], _TakeFrames] = {}  # by source and person

    @property
    def endpoint(self) -> str:
        return str(self._path)

    def open(self) -> None:
        """Nothing is written before the first person is lost."""

    def close(self) -> None:
        for key in list(self._takes):
            self._end(key)

    def send(self, message: Message) -> None:
        if not isinstance(message, PoseFrame):
            return
        for person in message.persons:
            key = message.header.source, person.id
            if person.state == "lost":
                self._end(key)
            elif (rig := rig_frame(message, person)) is not None:
                if key not in self._takes:
                    self._takes[key] = _TakeFrames(person.id, SteadyRate(self._settings.fps), [])
                take = self._takes[key]
                take.frames += take.rate.push(rig)
                frames = len(take.frames)
                if self._settings.is_full(frames * _FRAME_BYTES, frames / self._settings.fps):
                    self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        take = self._takes.pop(key, None)
        if take is None or not take.frames:
            return
        path = self._names.next(take.id)
        try:
            with write_atomically(path) as unfinished:
                unfinished.write_bytes(animation(take.frames, self._settings.fps, vrm=path.suffix == ".vrma"))
        except OSError as error:
            raise write_error(path, error) from error


@dataclass(slots=True)
class _TakeFrames:
    """Frames of one stay, in memory until it ends."""

    id: str
    rate: SteadyRate
    frames: list[RigFrame]


def animation(frames: list[RigFrame], fps: float, vrm: bool = False) -> bytes:
    """A binary glTF file of at least one frame; vrm: with the extension that makes it a VRM animation."""
    quats = np.array([frame.quat for frame in frames])  # (T, B, 4)
    flips = np.einsum("tbi,tbi->tb", quats[1:], quats[:-1]) < 0
    quats[1:] *= np.where(np.cumsum(flips, axis=0) % 2, -1.0, 1.0)[..., None]
    rest = np.mean([frame.rest for frame in frames], axis=0)
    hips = np.array([frame.hips for frame in frames], "<f4")
    times = (np.arange(len(frames)) / fps).astype("<f4")

    buffer = _Buffer()
    time = buffer.add(times, "SCALAR", bounds=True)
    tracks = [(0, "translation", buffer.add(hips, "VEC3"))]
    tracks += [
        (bone, "rotation", buffer.add(quats[:, bone].astype("<f4"), "VEC4")) for bone in range(len(_NODES))
    ]
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "poselift"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [_node(bone, rest, hips) for bone in range(len(_NODES))],
        "animations": [
            {
                "name": "motion",
                "samplers": [
                    {"input": time, "output": output, "interpolation": "LINEAR"} for *_, output in tracks
                ],
                "channels": [
                    {"sampler": n, "target": {"node": node, "path": path}}
                    for n, (node, path, _) in enumerate(tracks)
                ],
            }
        ],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    if vrm:
        bones = {name: {"node": node} for node, name in enumerate(_NODES)}
        document["extensionsUsed"] = ["VRMC_vrm_animation"]
        document["extensions"] = {
            "VRMC_vrm_animation": {"specVersion": "1.0", "humanoid": {"humanBones": bones}}
        }
    return _binary(document, bytes(buffer.data))


def _node(bone: int, rest: F64, hips: F64) -> dict[str, Any]:
    children = [n for n, parent in enumerate(HUMANOID.parents) if parent == bone]
    node: dict[str, Any] = {"name": _NODES[bone]}
    node["translation"] = [0.0, float(hips[0, 1]), 0.0] if bone == 0 else rest[bone].tolist()
    return node | ({"children": children} if children else {})


class _Buffer:
    """The binary chunk, with the views and accessors that describe it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, values: NDArray[np.float32], kind: str, bounds: bool = False) -> int:
        """Append an array; returns its accessor."""
        data = values.tobytes()
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)})
        self.data += data
        accessor = {
            "bufferView": len(self.views) - 1,
            "componentType": _FLOAT,
            "count": len(values),
            "type": kind,
        }
        if bounds:
            accessor |= {"min": [float(values.min())], "max": [float(values.max())]}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _binary(document: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data += b"\0" * (-len(data) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
