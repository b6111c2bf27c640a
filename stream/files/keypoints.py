"""Files of 2D keypoints: recordings of ours, and plain arrays of other tools.

.jsonl  one `keypoints2d` document per line (`stream.documents`)
.npz    keypoints (N, P, J, 3) float32: x px, y px, score; NaN, NaN, 0 where not seen
        ids       (N, P) str: who is in each of the P places, "" for somebody without an id
        time_ns   (N,) int64 unix
        size_wh (2,) int, skeleton str, source str
plain   .npy, or .npz with one array: (N, J, 2 or 3) or (N, P, J, 2 or 3), px and score; a joint is
        missing where it is NaN, at exactly (0, 0), or has score 0
"""

import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.clock import FakeClock
from stream.errors import ConfigError, DecodeError, ShapeError
from stream.messages import F32, I64, Header, KeypointFrame, Keypoints
from stream.wire.codec import decode_keypoints, encode_keypoints
from stream.wire.schema import NAME

_NO_TIME_NS = -1

PACKAGED_RECORDING = Path(__file__).parent / "data" / "walk.npz"  # a synthetic walker, 12 s at 50 Hz


@dataclass(frozen=True, slots=True)
class Assumed:
    """What holds where a file does not say: skeleton, frames per second, image size, source."""

    skeleton: str | None = None
    fps: float | None = None
    size_wh: tuple[int, int] | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class _KeypointTable:
    """A whole file: keypoints (N, P, J, 3), ids (N, P), time_ns (N,)."""

    keypoints: F32
    ids: NDArray[np.str_]
    time_ns: I64
    size_wh: tuple[int, int]
    skeleton: str
    source: str

    def __post_init__(self) -> None:
        frames, places = self.keypoints.shape[:2] if self.keypoints.ndim == 4 else (0, 0)
        joints = len(skeletons.skeleton_named(self.skeleton).joints)
        for name, array, shape, kinds in (
            ("keypoints", self.keypoints, (frames, places, joints, 3), "f"),
            ("ids", self.ids, (frames, places), "U"),
            ("time_ns", self.time_ns, (frames,), "i"),
        ):
            if array.shape != shape or array.dtype.kind not in kinds:
                raise ShapeError(
                    f"{name}: expected shape {shape} for {frames} frames of {self.skeleton}, "
                    f"got {array.shape} {array.dtype}"
                )

    def frames(self) -> Iterator[KeypointFrame]:
        for seq, (rows, ids) in enumerate(zip(self.keypoints, self.ids, strict=True)):
            offset_ns = int(self.time_ns[seq] - self.time_ns[0])
            header = Header(self.source, seq, offset_ns, int(self.time_ns[seq]))
            persons = tuple(
                Keypoints(row[:, :2].copy(), np.minimum(row[:, 2], 1), str(id) or None)
                for row, id in zip(rows, ids, strict=True)
                if row[:, 2].any()
            )
            yield KeypointFrame(header, self.size_wh, self.skeleton, persons, offset_ns)


def read(path: Path, assumed: Assumed | None = None) -> Iterator[KeypointFrame]:
    """The frames in the file, captured_ns counting from the first; what is wrong is a ConfigError."""
    assumed = assumed or Assumed()
    if not path.is_file():
        raise ConfigError(f"{path}: expected a file of keypoints, but there is none")
    if path.suffix == ".jsonl":
        return _lines(path, assumed)
    if path.suffix not in (".npz", ".npy"):
        raise ConfigError(f"{path}: expected a name ending in .jsonl, .npz or .npy")
    try:
        arrays = _load(path)
        table = _recorded(arrays, assumed) if "time_ns" in arrays else _plain(arrays, assumed)
    except (ConfigError, ShapeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return table.frames()


def write(path: Path, frames: Iterable[KeypointFrame]) -> None:
    """Write frames: of any cameras as .jsonl, of one camera as .npz."""
    if path.suffix == ".jsonl":
        with path.open("wb") as file:
            for frame in frames:
                file.write(encode_keypoints(frame, "json") + b"\n")
    elif path.suffix == ".npz":
        _write_npz(path, list(frames))
    else:
        raise ConfigError(f"{path}: expected a name ending in .jsonl or .npz")


def _lines(path: Path, assumed: Assumed) -> Iterator[KeypointFrame]:
    first_ns: int | None = None
    clock = FakeClock(now_ns=0, unix_ns=_NO_TIME_NS)  # documents without a time are stamped with this
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                frame = decode_keypoints(line.strip(), clock, seq=number - 1)
                skeletons.check(frame)
            except (DecodeError, ConfigError, ShapeError) as error:
                raise ConfigError(f"{path}, line {number}: {error}") from None
            unix_ns = frame.header.captured_unix_ns
            if unix_ns == _NO_TIME_NS:
                if assumed.fps is None:
                    raise ConfigError(f"{path}, line {number}: it has no t_capture_ns; set fps")
                unix_ns = round((number - 1) * 1e9 / assumed.fps)
            first_ns = unix_ns if first_ns is None else first_ns
            offset_ns = unix_ns - first_ns
            header = Header(frame.header.source or assumed.source, frame.header.seq, offset_ns, unix_ns)
            yield replace(frame, header=header, detected_ns=offset_ns)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        return {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"expected numpy arrays without Python objects in them: {error}") from None


def _recorded(arrays: dict[str, NDArray[Any]], assumed: Assumed) -> _KeypointTable:
    names = ("keypoints", "ids", "time_ns", "size_wh", "skeleton", "source")
    if absent := [name for name in names if name not in arrays]:
        raise ConfigError(f"expected arrays {', '.join(names)}; {', '.join(absent)} is not there")
    keypoints, ids, time_ns, size_wh, skeleton, source = (arrays[name] for name in names)
    if size_wh.shape != (2,) or size_wh.dtype.kind not in "iu" or size_wh.min() < 1:
        raise ConfigError(f"size_wh: expected a positive width and height, got {size_wh}")
    width, height = (int(side) for side in size_wh)
    name = str(source) or assumed.source
    if name and not re.match(NAME, name):
        raise ConfigError(
            f"source: expected a name without '/', '+', '#' and control characters, got {name!r}"
        )
    return _KeypointTable(_missing_marked(keypoints), ids, time_ns, (width, height), str(skeleton), name)


def _plain(arrays: dict[str, NDArray[Any]], assumed: Assumed) -> _KeypointTable:
    if assumed.skeleton is None or assumed.fps is None or assumed.size_wh is None:
        raise ConfigError("a plain array says nothing about itself; set skeleton, fps and size_wh")
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
    with np.errstate(over="ignore"):  # what is beyond float32 is in no image, and counts as missing
        keypoints = array.astype(np.float32).reshape(len(array), -1, *array.shape[-2:])
    if keypoints.shape[-1] == 2:
        keypoints = np.concatenate([keypoints, np.ones_like(keypoints[..., :1])], axis=-1)
    keypoints[(keypoints[..., :2] == 0).all(axis=-1)] = np.nan
    ids = np.full(keypoints.shape[:2], "")
    time_ns = np.round(np.arange(len(array)) * 1e9 / assumed.fps).astype(np.int64)
    return _KeypointTable(
        _missing_marked(keypoints), ids, time_ns, assumed.size_wh, assumed.skeleton, assumed.source
    )


def _missing_marked(keypoints: NDArray[Any]) -> F32:
    """As float32, a joint with any part of it missing being NaN, NaN, 0."""
    if keypoints.dtype.kind != "f" or keypoints.ndim != 4 or keypoints.shape[-1] != 3:
        raise ConfigError(
            f"keypoints: expected (N, P, J, 3) float32, got {keypoints.shape} {keypoints.dtype}"
        )
    marked = keypoints.astype(np.float32)
    marked[~(np.isfinite(marked).all(axis=-1) & (marked[..., 2] > 0))] = (np.nan, np.nan, 0)
    return marked


def _write_npz(path: Path, frames: list[KeypointFrame]) -> None:
    kinds = {(frame.header.source, frame.skeleton, frame.size_wh) for frame in frames}
    if len(kinds) != 1:
        raise ConfigError(f"{path}: expected frames of one source, skeleton and image size, got {kinds}")
    ((source, skeleton, size_wh),) = kinds
    places = max(len(frame.persons) for frame in frames)
    joints = len(skeletons.skeleton_named(skeleton).joints)
    keypoints = np.full((len(frames), places, joints, 3), (np.nan, np.nan, 0), np.float32)
    ids = [[person.id or "" for person in frame.persons] for frame in frames]
    for row, frame in zip(keypoints, frames, strict=True):
        for place, person in zip(row, frame.persons, strict=False):
            place[:, :2], place[:, 2] = person.xy, person.score
    np.savez_compressed(
        path,
        keypoints=keypoints,
        ids=np.array([row + [""] * (places - len(row)) for row in ids], dtype=str).reshape(
            len(frames), places
        ),
        time_ns=np.array([frame.header.captured_unix_ns for frame in frames], np.int64),
        size_wh=np.array(size_wh),
        skeleton=np.array(skeleton),
        source=np.array(source),
    )
