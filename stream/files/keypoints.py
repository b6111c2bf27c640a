"""Files of 2D keypoints: recordings of poselift, and plain arrays of other tools.

.jsonl  one `keypoints2d` document per line (`stream.wire.schema`)
.npz    of N frames with up to P persons of J joints:
        keypoints (N, P, J, 3) float32: x px, y px, score; a missing joint is NaN, NaN, 0
        ids       (N, P) str: id of each person, "" for a person without an id
        time_ns   (N,) int64 unix
        size_wh (2,) int, skeleton str, source str
plain   .npy, or .npz with one array: (N, J, 2 or 3) or (N, P, J, 2 or 3), px and score; a joint is
        missing if it is NaN, at exactly (0, 0), or has score 0
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.clock import FakeClock
from stream.errors import ConfigError, DecodeError, ShapeError
from stream.files.arrays import read_arrays
from stream.files.cache import write_atomically
from stream.files.lines import read_lines
from stream.messages import F32, I64, Header, KeypointFrame, Keypoints
from stream.wire.codec import decode_keypoints, encode_keypoints
from stream.wire.schema import NAME

_NO_TIME_NS = -1

PACKAGED_RECORDING = Path(__file__).parent / "data" / "walk.npz"  # synthetic walker, 12 s at 50 Hz


@dataclass(frozen=True, slots=True)
class RecordingDefaults:
    """Values for files that do not contain them: skeleton, frames per second, image size, source name."""

    skeleton: str | None = None
    fps: float | None = None
    size_wh: tuple[int, int] | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class _KeypointTable:
    """Content of an .npz or .npy file: keypoints (N, P, J, 3), ids (N, P), time_ns (N,)."""

    keypoints: F32
    ids: NDArray[np.str_]
    time_ns: I64
    size_wh: tuple[int, int]
    skeleton: str
    source: str

    def __post_init__(self) -> None:
        frames, persons = self.keypoints.shape[:2] if self.keypoints.ndim == 4 else (0, 0)
        joints = len(skeletons.skeleton_named(self.skeleton).joints)
        for name, array, shape, kinds in (
            ("keypoints", self.keypoints, (frames, persons, joints, 3), "f"),
            ("ids", self.ids, (frames, persons), "U"),
            ("time_ns", self.time_ns, (frames,), "i"),
        ):
            if array.shape != shape or array.dtype.kind not in kinds:
                raise ShapeError(
                    f"{name}: expected shape {shape} for {frames} frames of {self.skeleton}, "
                    f"got {array.shape} {array.dtype}"
                )

    def frames(self) -> Iterator[KeypointFrame]:
        """The rows as frames; a person without detected joints is left out."""
        for seq, (rows, ids) in enumerate(zip(self.keypoints, self.ids, strict=True)):
            offset_ns = int(self.time_ns[seq] - self.time_ns[0])
            header = Header(self.source, seq, offset_ns, int(self.time_ns[seq]))
            persons = tuple(
                Keypoints(row[:, :2].copy(), np.minimum(row[:, 2], 1), str(id) or None)
                for row, id in zip(rows, ids, strict=True)
                if row[:, 2].any()
            )
            yield KeypointFrame(header, self.size_wh, self.skeleton, persons, offset_ns)


def read(path: Path, defaults: RecordingDefaults | None = None) -> Iterator[KeypointFrame]:
    """Frames of a file in order; captured_ns is 0 for the first frame.

    ConfigError, at once or while reading, when the file is missing, broken or lacks a value of `defaults`.
    """
    defaults = defaults or RecordingDefaults()
    if not path.is_file():
        raise ConfigError(f"{path}: expected a file of keypoints, but there is none")
    if path.suffix == ".jsonl":
        return _lines(path, defaults)
    if path.suffix not in (".npz", ".npy"):
        raise ConfigError(f"{path}: expected a name ending in .jsonl, .npz or .npy")
    try:
        arrays = read_arrays(path)
        convert = _from_recording if "time_ns" in arrays else _from_plain_array
        table = convert(arrays, defaults)
    except (ConfigError, ShapeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return table.frames()


def write(path: Path, frames: Iterable[KeypointFrame]) -> None:
    """Write frames as .jsonl (any number of cameras) or .npz (one camera); ConfigError for mixed cameras."""
    if path.suffix == ".jsonl":
        with write_atomically(path) as temporary, temporary.open("wb") as file:
            for frame in frames:
                file.write(encode_keypoints(frame, "json") + b"\n")
    elif path.suffix == ".npz":
        _write_npz(path, list(frames))
    else:
        raise ConfigError(f"{path}: expected a name ending in .jsonl or .npz")


def _lines(path: Path, defaults: RecordingDefaults) -> Iterator[KeypointFrame]:
    first_ns: int | None = None
    clock = FakeClock(now_ns=0, unix_ns=_NO_TIME_NS)  # the time of documents without t_capture_ns
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            frame = decode_keypoints(line.strip(), clock, seq=number - 1)
            skeletons.check(frame)
        except (DecodeError, ConfigError, ShapeError) as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
        unix_ns = frame.header.captured_unix_ns
        if unix_ns == _NO_TIME_NS:
            if defaults.fps is None:
                raise ConfigError(f"{path}, line {number}: no t_capture_ns; set fps")
            unix_ns = round((number - 1) * 1e9 / defaults.fps)
        first_ns = unix_ns if first_ns is None else first_ns
        offset_ns = unix_ns - first_ns
        header = Header(frame.header.source or defaults.source, frame.header.seq, offset_ns, unix_ns)
        yield replace(frame, header=header, detected_ns=offset_ns)


def _from_recording(arrays: dict[str, NDArray[Any]], defaults: RecordingDefaults) -> _KeypointTable:
    names = ("keypoints", "ids", "time_ns", "size_wh", "skeleton", "source")
    if missing := [name for name in names if name not in arrays]:
        raise ConfigError(f"expected arrays {', '.join(names)}; {', '.join(missing)} is missing")
    keypoints, ids, time_ns, size_wh, skeleton, source = (arrays[name] for name in names)
    if size_wh.shape != (2,) or size_wh.dtype.kind not in "iu" or size_wh.min() < 1:
        raise ConfigError(f"size_wh: expected a positive width and height, got {size_wh}")
    width, height = (int(side) for side in size_wh)
    name = str(source) or defaults.source
    if name and not re.match(NAME, name):
        raise ConfigError(
            f"source: expected a name without '/', '+', '#' and control characters, got {name!r}"
        )
    return _KeypointTable(_with_missing_as_nan(keypoints), ids, time_ns, (width, height), str(skeleton), name)


def _from_plain_array(arrays: dict[str, NDArray[Any]], defaults: RecordingDefaults) -> _KeypointTable:
    if defaults.skeleton is None or defaults.fps is None or defaults.size_wh is None:
        raise ConfigError("a plain array needs more settings; set skeleton, fps and size_wh")
    if len(arrays) != 1:
        raise ConfigError(f"expected one array of keypoints, got {', '.join(arrays) or 'none'}")
    (array,) = arrays.values()
    if array.ndim not in (3, 4) or array.shape[-1] not in (2, 3) or array.dtype.kind not in "fiu":
        raise ConfigError(
            "expected numbers of shape (frames, joints, 2 or 3) or (frames, persons, joints, 2 or 3), "
            f"got {array.shape} {array.dtype}"
        )
    if not array.size:
        raise ConfigError(f"expected at least one frame with joints, got an array of shape {array.shape}")
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite and counts as missing
        keypoints = array.astype(np.float32).reshape(len(array), -1, *array.shape[-2:])
    if keypoints.shape[-1] == 2:
        keypoints = np.concatenate([keypoints, np.ones_like(keypoints[..., :1])], axis=-1)
    keypoints[(keypoints[..., :2] == 0).all(axis=-1)] = np.nan
    ids = np.full(keypoints.shape[:2], "")
    time_ns = np.round(np.arange(len(array)) * 1e9 / defaults.fps).astype(np.int64)
    return _KeypointTable(
        _with_missing_as_nan(keypoints), ids, time_ns, defaults.size_wh, defaults.skeleton, defaults.source
    )


def _with_missing_as_nan(keypoints: NDArray[Any]) -> F32:
    """Keypoints (N, P, J, 3) as float32, with NaN, NaN, 0 for each missing joint."""
    if keypoints.dtype.kind != "f" or keypoints.ndim != 4 or keypoints.shape[-1] != 3:
        raise ConfigError(
            f"keypoints: expected (N, P, J, 3) float32, got {keypoints.shape} {keypoints.dtype}"
        )
    result = keypoints.astype(np.float32)
    result[~(np.isfinite(result).all(axis=-1) & (result[..., 2] > 0))] = (np.nan, np.nan, 0)
    return result


def _write_npz(path: Path, frames: list[KeypointFrame]) -> None:
    cameras = {(frame.header.source, frame.skeleton, frame.size_wh) for frame in frames}
    if len(cameras) != 1:
        raise ConfigError(f"{path}: expected frames of one source, skeleton and image size, got {cameras}")
    ((source, skeleton, size_wh),) = cameras
    max_persons = max(len(frame.persons) for frame in frames)
    joints = len(skeletons.skeleton_named(skeleton).joints)
    keypoints = np.full((len(frames), max_persons, joints, 3), (np.nan, np.nan, 0), np.float32)
    ids = [[person.id or "" for person in frame.persons] for frame in frames]
    for row, frame in zip(keypoints, frames, strict=True):
        for cell, person in zip(row, frame.persons, strict=False):
            cell[:, :2], cell[:, 2] = person.xy, person.score
    arrays: dict[str, Any] = {
        "keypoints": keypoints,
        "ids": np.array([row + [""] * (max_persons - len(row)) for row in ids], dtype=str).reshape(
            len(frames), max_persons
        ),
        "time_ns": np.array([frame.header.captured_unix_ns for frame in frames], np.int64),
        "size_wh": np.array(size_wh),
        "skeleton": np.array(skeleton),
        "source": np.array(source),
    }
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
