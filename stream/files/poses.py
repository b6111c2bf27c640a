"""Files of recorded poses: `.jsonl` as a complete log, `.npz` for work with arrays.

.jsonl  one document per line (`stream.wire.schema`): `pose3d`, and `meta` whenever it changes
.npz    of T frames:  source session mode skeleton frame_id model_name model_sha256 (T,) str
                      seq time_ns published_ns lag hop dropped (T,) int64, times in unix ns
                      window (T, 3) int64: frames, real, padded
                      latency_ms (T, 5) float64: capture, detect, queue, lift, post
        of N persons in all frames, in order:  frame (N,) int64 index of the person's frame
                      id state root_status (N,) str
                      xyz (N, J, 3) float32 m, score (N, J) float32, origin (N, J) uint8
                      root (N, 3) float32 m, NaN if unknown
                      kp2d (N, J, 3) float32 px and score, all NaN without keypoints
                      contact (N, 2) int8: left and right foot, 1 in contact with the floor, 0 not, -1 unknown
                      repaired (N, J) uint8: 1 for joints whose left and right were put right, optional
                      quat (N, B, 4), rest (N, B, 3) float32 m, twist (N, B) uint8: joint rotations as in
                      `Rotations`, of the B bones of `stream.rig`; only in files with rotations
        joints (J,) str and parents (J,) int64, if a `meta` contains them
        metas (S,) str: the last `meta` of each source, in JSON
"""

from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError, DecodeError, ShapeError
from stream.files.arrays import read_arrays
from stream.files.cache import write_atomically
from stream.files.lines import read_lines
from stream.files.pose_joints import check_joints
from stream.messages import (
    F32,
    U8,
    Contact,
    Header,
    Latency,
    Meta,
    ModelInfo,
    Pose,
    PoseFrame,
    Rotations,
    WindowInfo,
)
from stream.rig import HUMANOID
from stream.wire.codec import decode, encode

_FRAME: dict[str, Any] = {
    **dict.fromkeys(("source", "session", "mode", "skeleton", "frame_id", "model_name", "model_sha256"), str),
    **dict.fromkeys(("seq", "time_ns", "published_ns", "lag", "hop", "dropped", "window"), np.int64),
    "latency_ms": np.float64,
}
_PERSON: dict[str, Any] = {
    "frame": np.int64,
    **dict.fromkeys(("id", "state", "root_status"), str),
    "origin": np.uint8,
    **dict.fromkeys(("xyz", "score", "root", "kp2d"), np.float32),
    "contact": np.int8,
    "repaired": np.uint8,
    "quat": np.float32,
    "rest": np.float32,
    "twist": np.uint8,
}
_OPTIONAL = (
    "contact",
    "repaired",
    "quat",
    "rest",
    "twist",
)  # not in older files, or in poses without rotations
# Lengths of the axes after the first; None for the number of joints or bones.
_SHAPES: dict[str, tuple[int | None, ...]] = {
    **{"window": (3,), "latency_ms": (5,), "root": (3,), "contact": (2,), "score": (None,)},
    **{"xyz": (None, 3), "kp2d": (None, 3), "origin": (None,), "repaired": (None,)},
    **{"quat": (None, 4), "rest": (None, 3), "twist": (None,)},
}
_KINDS = {"U": "U", "i": "iu", "u": "iu", "f": "f"}  # kinds of NumPy's types that may stand for another
_UNKNOWN_CONTACT = -1
_FRAME_BYTES, _PERSON_BYTES = 1500, 1000  # estimated memory of Python objects besides the arrays


class PoseTable:
    """Collects frames for one `.npz` file. nbytes: estimated memory in bytes."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._frames: list[tuple[Any, ...]] = []
        self._persons: list[tuple[Any, ...]] = []
        self._joints = 0
        self._metas: dict[str, Meta] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def fits(self, frame: PoseFrame) -> bool:
        """Whether the frame's persons have as many joints as the persons of the table."""
        return not (frame.persons and self._persons) or len(frame.persons[0].xyz) == self._joints

    def set_meta(self, meta: Meta) -> None:
        """Store the newest `meta` of a source in the file."""
        self._metas[meta.source] = meta

    def add(self, frame: PoseFrame) -> None:
        """Append a copy of the frame."""
        for person in frame.persons:
            row = _person(len(self._frames), person)
            self._joints = len(person.xyz)
            self._persons.append(row)
            self.nbytes += _PERSON_BYTES + sum(item.nbytes for item in row if isinstance(item, np.ndarray))
        self._frames.append(_frame(frame))
        self.nbytes += _FRAME_BYTES

    def write(self, path: Path) -> None:
        """Write the file atomically; needs the table's memory a second time. OSError on failure."""
        arrays = _columns(self._frames, _FRAME) | _columns(self._persons, _PERSON)
        if not arrays["repaired"].any():
            del arrays["repaired"]
        if np.isnan(arrays["quat"]).all():
            for name in ("quat", "rest", "twist"):
                del arrays[name]
        for meta in self._metas.values():
            if self._joints in (0, len(meta.joints)):
                arrays |= {"joints": np.array(meta.joints, str), "parents": np.array(meta.parents)}
        if self._metas:
            arrays["metas"] = np.array([encode(meta, "json").decode() for meta in self._metas.values()], str)
        with write_atomically(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


def _frame(frame: PoseFrame) -> tuple[Any, ...]:
    header, model = frame.header, frame.model
    return (
        *(header.source, frame.session, frame.mode, frame.skeleton, frame.frame_id, model.name, model.sha256),
        *(header.seq, header.captured_unix_ns, frame.published_unix_ns, frame.lag, frame.hop, frame.dropped),
        astuple(frame.window),
        astuple(frame.latency_ms),
    )


def _person(frame: int, person: Pose) -> tuple[Any, ...]:
    joints, contact = len(person.xyz), person.contact or Contact()
    # Copies, because the arrays of a pose are views of the whole batch, which they would keep in memory.
    return (
        *(frame, person.id, person.state, person.root_status, person.origin.copy()),
        *(person.xyz.copy(), person.score.copy()),
        np.full(3, np.nan, np.float32) if person.root is None else person.root,
        np.full((joints, 3), np.nan, np.float32) if person.kp2d is None else person.kp2d.copy(),
        [_UNKNOWN_CONTACT if foot is None else foot for foot in (contact.left, contact.right)],
        np.isin(np.arange(joints), person.repaired).astype(np.uint8),
        *_rotation_rows(person.rotations),
    )


def _rotation_rows(rotations: Rotations | None) -> tuple[F32, F32, U8]:
    if rotations is not None:
        return rotations.quat.copy(), rotations.rest.copy(), rotations.twist.copy()
    bones = len(HUMANOID.bones)
    nothing = np.full((bones, 4), np.nan, np.float32)
    return nothing, nothing[:, :3], np.zeros(bones, np.uint8)


def _columns(rows: list[tuple[Any, ...]], types: dict[str, Any]) -> dict[str, NDArray[Any]]:
    columns = zip(*rows, strict=True) if rows else [() for _ in types]
    return {name: np.array(column, types[name]) for name, column in zip(types, columns, strict=True)}


def read(path: Path) -> Iterator[PoseFrame]:
    """Pose frames of a recording in order; captured_ns is 0 for the first frame.

    ConfigError, at once or while reading, when the file is missing or broken.
    """
    return (message for message in read_messages(path) if isinstance(message, PoseFrame))


def read_messages(path: Path, strict: bool = False) -> Iterator[PoseFrame | Meta]:
    """Pose frames as `read` gives them, and the metas, each before the frames it describes.

    strict: refuse poses with other joints than their skeleton.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: expected a file of poses, but there is none")
    if path.suffix not in (".jsonl", ".npz"):
        raise ConfigError(f"{path}: expected a name ending in .jsonl or .npz")
    return _lines(path, strict) if path.suffix == ".jsonl" else _rows(path, strict)


def _lines(path: Path, strict: bool) -> Iterator[PoseFrame | Meta]:
    first_ns: int | None = None
    for number, line in read_lines(path):
        if not line.endswith(b"\n"):
            return  # the recording process ended in the middle of this line
        try:
            message = decode(line)
            if strict and isinstance(message, PoseFrame):
                check_joints(message)
        except DecodeError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
        if isinstance(message, PoseFrame):
            unix_ns = message.header.captured_unix_ns
            first_ns = unix_ns if first_ns is None else first_ns
            yield replace(message, header=replace(message.header, captured_ns=unix_ns - first_ns))
        elif isinstance(message, Meta):
            yield message


def _rows(path: Path, strict: bool) -> Iterator[PoseFrame | Meta]:
    try:
        arrays = read_arrays(path, {*_FRAME, *_PERSON, "metas"})
        table = _checked(arrays)
        for meta in arrays.get("metas", np.array([], str)).reshape(-1).tolist():
            message = decode(str(meta).encode("utf-8", "replace"))
            if isinstance(message, Meta):
                yield message
        ends = np.searchsorted(table["frame"], np.arange(len(table["seq"])), side="right")
        for index, end in enumerate(ends):
            start = ends[index - 1] if index else 0
            persons = tuple(
                _pose({name: table[name][row] for name in _PERSON if name in table})
                for row in range(start, end)
            )
            row = {name: table[name][index] for name in _FRAME}
            frame = _pose_frame(row, persons, table["time_ns"][0])
            if strict:
                check_joints(frame)
            yield frame
    except (ConfigError, ShapeError, DecodeError) as error:
        raise ConfigError(f"{path}: expected the arrays of recorded poses: {error}") from None


def _checked(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns of a recording; ConfigError when one is missing, or of another type or shape."""
    table = {}
    for name in (*_FRAME, *_PERSON):
        if name not in arrays and name not in _OPTIONAL:
            raise ConfigError(f"the array {name} is missing")
    for columns, first in ((_FRAME, "seq"), (_PERSON, "frame")):
        for name, dtype in columns.items():
            if name not in arrays:
                continue
            column, shape = arrays[name], _SHAPES.get(name, ())
            if (
                column.dtype.kind not in _KINDS[np.dtype(dtype).kind]
                or column.ndim != 1 + len(shape)
                or len(column) != arrays[first].size
                or any(size not in (None, got) for size, got in zip(shape, column.shape[1:], strict=True))
            ):
                raise ConfigError(f"{name}: got an array of shape {column.shape} and type {column.dtype}")
            table[name] = column
    table.setdefault("contact", np.full((len(table["frame"]), 2), _UNKNOWN_CONTACT, np.int8))
    if (table["repaired"].shape if "repaired" in table else table["score"].shape) != table["score"].shape:
        raise ConfigError(f"repaired: expected the shape of score, got {table['repaired'].shape}")
    rotations = [name for name in ("quat", "rest", "twist") if name in table]
    if len(rotations) not in (0, 3):
        raise ConfigError(f"expected quat, rest and twist, got {', '.join(rotations)}")
    return table


def _pose(row: dict[str, Any]) -> Pose:
    return Pose(
        id=str(row["id"]),
        state=str(row["state"]),  # type: ignore[arg-type]
        xyz=row["xyz"],
        score=row["score"],
        origin=row["origin"],
        root=None if np.isnan(row["root"]).all() else row["root"],
        root_status=str(row["root_status"]),  # type: ignore[arg-type]
        kp2d=None if np.isnan(row["kp2d"]).all() else row["kp2d"],
        contact=_contact(row["contact"].tolist()),
        rotations=_rotations(row),
        repaired=tuple(np.flatnonzero(row["repaired"]).tolist()) if "repaired" in row else (),
    )


def _rotations(row: dict[str, Any]) -> Rotations | None:
    if "quat" not in row or np.isnan(row["quat"]).any():
        return None
    return Rotations(row["quat"], row["rest"], row["twist"])


def _contact(feet: list[int]) -> Contact | None:
    contacts = [None if foot == _UNKNOWN_CONTACT else bool(foot) for foot in feet]
    return None if contacts == [None, None] else Contact(*contacts)


def _pose_frame(row: dict[str, Any], persons: tuple[Pose, ...], first_ns: int) -> PoseFrame:
    time_ns = int(row["time_ns"])
    return PoseFrame(
        header=Header(str(row["source"]), int(row["seq"]), time_ns - int(first_ns), time_ns),
        persons=persons,
        skeleton=str(row["skeleton"]),
        session=str(row["session"]),
        mode=str(row["mode"]),  # type: ignore[arg-type]
        lag=int(row["lag"]),
        hop=int(row["hop"]),
        window=WindowInfo(*row["window"].tolist()),
        latency_ms=Latency(*row["latency_ms"].tolist()),
        model=ModelInfo(str(row["model_name"]), str(row["model_sha256"])),
        frame_id=str(row["frame_id"]),
        published_unix_ns=int(row["published_ns"]),
        dropped=int(row["dropped"]),
    )
