"""Damaged arrays, and arrays made by a stranger, are one kind of error."""

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream.errors import ConfigError
from stream.files import arrays, keypoints, poses, recorded_poses
from stream.files.arrays import array_names, read_arrays
from stream.files.keypoints import RecordingDefaults

DEFAULTS = RecordingDefaults("h36m17", 25.0, (640, 480))


def small_recording(save: Callable[..., None]) -> bytes:
    """The first frames of the packaged recording."""
    with np.load(keypoints.PACKAGED_RECORDING) as file:
        content = {name: file[name][:5] for name in ("keypoints", "ids", "time_ns")}
        content |= {name: file[name] for name in ("size_wh", "skeleton", "source")}
    buffer = io.BytesIO()
    save(buffer, **content)
    return buffer.getvalue()


def plain_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 17, 3)))
    return buffer.getvalue()


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with some of them changed, left out or added; often in the headers at the start."""
    result = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 10])):
        position = rng.randrange(min(len(result), 300) if rng.random() < 0.4 else len(result))
        kind = rng.random()
        if kind < 0.7:
            result[position] = rng.randrange(256)
        elif kind < 0.85:
            del result[position + 1 :]
        else:
            result[position:position] = rng.randbytes(4)
    return bytes(result)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.npz", small_recording(np.savez)),
        ("b.npz", small_recording(np.savez_compressed)),
        ("c.npy", plain_array()),
    ],
)
def test_a_damaged_file_of_keypoints_is_read_or_refused_in_plain_words(
    tmp_path: Path, name: str, data: bytes
):
    rng, path, refused = random.Random(7), tmp_path / name, 0
    for _ in range(400):
        path.write_bytes(mutated(rng, data))
        try:
            list(keypoints.read(path, DEFAULTS))
        except ConfigError as error:
            refused += str(error).startswith(str(path))
        recorded_poses.holds_poses(path)
    assert refused > 100


def encrypted(path: Path) -> None:
    """A .npz whose arrays claim to be encrypted."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("keypoints.npy", plain_array())
    data = bytearray(path.read_bytes())
    for start in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[start] |= 1
    path.write_bytes(data)


def of_200_terabytes(path: Path) -> None:
    """A .npy whose header claims more numbers than any memory holds."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (25000000000, 1000), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header + b"\n").to_bytes(2, "little") + header + b"\n")


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "write"), [("a.npz", encrypted), ("b.npy", of_200_terabytes), ("c.npy", pickled)]
)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, name: str, write: Callable[[Path], None]):
    write(tmp_path / name)
    with pytest.raises(ConfigError, match="expected numpy arrays without Python objects in them"):
        read_arrays(tmp_path / name)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, keypoints=np.zeros(1_000_000))
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(arrays, "MAX_ARRAY_BYTES", 1 << 20)
    with pytest.raises(ConfigError, match=r"they unpack to 0.0 GB, more than 0.0 GB"):
        read_arrays(path)


def test_a_damaged_file_of_poses_is_refused_in_plain_words(tmp_path: Path):
    path = tmp_path / "poses.npz"
    encrypted(path)
    with pytest.raises(ConfigError, match=f"{path}: expected the arrays of recorded poses"):
        list(poses.read(path))


def test_the_arrays_of_a_file_are_read_by_name(tmp_path: Path):
    path = tmp_path / "two.npz"
    np.savez(path, first=np.arange(3), second=np.ones(2))
    assert array_names(path) == ["first", "second"]
    assert {name: array.tolist() for name, array in read_arrays(path, {"second"}).items()} == {
        "second": [1.0, 1.0]
    }
