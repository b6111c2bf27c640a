"""Files of recorded frames, made by the sinks that record to disk."""

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from sinks.bvh import BVH
from sinks.gltf import GLTF
from sinks.mcap import MCAP
from sinks.npz import NPZ
from stream.clock import SystemClock
from stream.errors import PoseliftError
from stream.messages import Message, Meta, PoseFrame
from stream.postprocess.add_rotations import with_rotations
from stream.protocols import ComponentContext, Openable, opened

FORMATS = ("npz", "bvh", "glb", "mcap")
ROTATION_FORMATS = frozenset(("bvh", "glb", "mcap"))
_MIN_HZ, _MAX_HZ = 1, 1000


class NothingToExport(PoseliftError):
    """No frame of the requested time and source can be written in the requested format."""


class _StandingClock(SystemClock):
    """Unix time stands still, so that a log has the metas at the time of the first frame, not at the end."""

    def __init__(self, unix_ns: int) -> None:
        self._unix_ns = unix_ns

    def unix_ns(self) -> int:
        return self._unix_ns


class _Writer(Openable, Protocol):
    def send(self, message: Message) -> None: ...


def export(format: str, frames: Sequence[PoseFrame], metas: Iterable[Meta]) -> tuple[str, bytes]:
    """Name suffix and bytes of a file in one of FORMATS; a .zip when the format makes a file per person.

    Frames are in the order in which they were received. NothingToExport for no frames, or for a format of
    joint rotations and poses that have none.
    """
    if not frames:
        raise NothingToExport("no poses in this time")
    messages: Iterable[PoseFrame | Meta] = [*metas, *frames]
    if format in ROTATION_FORMATS:
        messages = with_rotations(messages)
    with tempfile.TemporaryDirectory(prefix="poselift-") as name:
        folder = Path(name)
        with opened(_WRITERS[format](folder, frames)) as writer:
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


def _npz(folder: Path, frames: Sequence[PoseFrame]) -> _Writer:
    return NPZ(NPZ.Settings(path=str(folder / "poses.npz")), ComponentContext("export"))


def _bvh(folder: Path, frames: Sequence[PoseFrame]) -> _Writer:
    return BVH(
        BVH.Settings(path=str(folder / "poses-{id}.bvh"), fps=rate_hz(frames)), ComponentContext("export")
    )


def _glb(folder: Path, frames: Sequence[PoseFrame]) -> _Writer:
    return GLTF(
        GLTF.Settings(path=str(folder / "poses-{id}.glb"), fps=rate_hz(frames)), ComponentContext("export")
    )


def _mcap(folder: Path, frames: Sequence[PoseFrame]) -> _Writer:
    settings = MCAP.Settings(path=str(folder / "poses.mcap"))
    return MCAP(settings, ComponentContext("export", clock=_StandingClock(frames[0].published_unix_ns)))


_WRITERS: dict[str, Callable[[Path, Sequence[PoseFrame]], _Writer]] = {
    "npz": _npz, "bvh": _bvh, "glb": _glb, "mcap": _mcap,
}  # fmt: skip


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
