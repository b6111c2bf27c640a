"""Files of recorded frames, made by the sinks that record to disk."""

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from sinks.bvh import BVH
from sinks.gltf import GLTF
from sinks.npz import NPZ
from stream.errors import PoseliftError
from stream.messages import Message, Meta, PoseFrame
from stream.postprocess.batch import PoseBatch
from stream.postprocess.joint_rotations import JointRotations
from stream.protocols import ComponentContext, Openable, opened
from stream.rig import SKELETON

FORMATS = ("npz", "bvh", "glb")
_MIN_HZ, _MAX_HZ = 1, 1000


class NothingToExport(PoseliftError):
    """No frame of the requested time and source can be written in the requested format."""


class _Writer(Openable, Protocol):
    def send(self, message: Message) -> None: ...


def export(format: str, frames: Sequence[PoseFrame], metas: Iterable[Meta]) -> tuple[str, bytes]:
    """Name suffix and bytes of a file in one of FORMATS; a .zip when the format makes a file per person.

    Frames are in the order in which they were received. NothingToExport for no frames, or for a format of
    joint rotations and poses that have none.
    """
    if not frames:
        raise NothingToExport("no poses in this time")
    if format != "npz":
        frames = with_rotations(frames)
    with tempfile.TemporaryDirectory(prefix="poselift-") as name:
        folder = Path(name)
        with opened(_WRITERS[format](folder, rate_hz(frames))) as writer:
            messages: list[Message] = [*metas, *frames]
            for message in messages:
                writer.send(message)
        files = sorted(folder.iterdir())
        if not files:
            raise NothingToExport(f"no person was complete enough for {format.upper()}")
        if len(files) == 1:
            return files[0].suffix, files[0].read_bytes()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.name)
        return ".zip", buffer.getvalue()


def _npz(folder: Path, hz: float) -> _Writer:
    return NPZ(NPZ.Settings(path=str(folder / "poses.npz")), ComponentContext("export"))


def _bvh(folder: Path, hz: float) -> _Writer:
    return BVH(BVH.Settings(path=str(folder / "poses-{id}.bvh"), fps=hz), ComponentContext("export"))


def _glb(folder: Path, hz: float) -> _Writer:
    return GLTF(GLTF.Settings(path=str(folder / "poses-{id}.glb"), fps=hz), ComponentContext("export"))


_WRITERS: dict[str, Callable[[Path, float], _Writer]] = {"npz": _npz, "bvh": _bvh, "glb": _glb}


def rate_hz(frames: Sequence[PoseFrame]) -> float:
    """The usual number of frames per second of a source, rounded; 30 for fewer than two frames."""
    times: dict[str, list[int]] = {}
    for frame in frames:
        times.setdefault(frame.header.source, []).append(frame.header.captured_unix_ns)
    steps_ns = np.concatenate([np.diff(np.sort(source_times)) for source_times in times.values()])
    steps_ns = steps_ns[steps_ns > 0]
    if not steps_ns.size:
        return 30.0
    return float(np.clip(round(1e9 / float(np.median(steps_ns))), _MIN_HZ, _MAX_HZ))


def with_rotations(frames: Sequence[PoseFrame]) -> list[PoseFrame]:
    """The frames with joint rotations, computed where the sender left them out."""
    step, rotated = JointRotations(), []
    for frame in frames:
        missing = any(person.rotations is None for person in frame.persons if person.state != "lost")
        if missing and frame.skeleton == SKELETON:
            batch = PoseBatch.from_poses(frame.skeleton, frame.header, (1, 1), frame.persons, frame.frame_id)
            step.apply(batch)
            persons = tuple([batch.pose(row) for row in range(len(frame.persons))])
            frame = replace(frame, persons=persons)
        rotated.append(frame)
    return rotated
