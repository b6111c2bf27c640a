"""Read pickles and `.npz` files of datasets without running code from them.

Dictionaries, lists, numbers, text and numpy arrays are read; any other type in a pickle is an error.
"""

import io
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stream.errors import ConfigError
from stream.files.arrays import read_array

_NUMPY = {"_reconstruct", "scalar", "_frombuffer"}
_ALLOWED = {
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": _NUMPY,
    "numpy._core.multiarray": _NUMPY,
    "numpy.core.numeric": _NUMPY,
    "numpy._core.numeric": _NUMPY,
    "collections": {"OrderedDict"},
    "_codecs": {"encode"},  # bytes in pickles of Python 2 and of protocol 2
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise ConfigError(
                f"data file: expected only numpy arrays, dictionaries, lists, numbers and text, "
                f"but it refers to {module}.{name}; the file is not loaded"
            )
        # numpy 2 moved these names; files of both versions are read.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def unpickle(file: BinaryIO) -> Any:
    """The object in an open pickle; ConfigError for other types or a damaged file."""
    try:
        return _RestrictedUnpickler(file, encoding="latin1").load()
    except ConfigError:
        raise
    except Exception as error:  # damaged pickles raise nearly every type
        raise ConfigError(
            f"data file: expected a pickle of arrays, but it cannot be read: {error}"
        ) from error


def read_pickle(path: Path) -> Any:
    """The object in the pickle at `path`; ConfigError as in `unpickle`, or for a missing file."""
    _check_is_file(path)
    with path.open("rb") as file:
        return unpickle(file)


def read_npz(path: Path) -> dict[str, Any]:
    """All arrays of an `.npz` by name; an array of one object gives the object, read as by `unpickle`."""
    _check_is_file(path)
    if not zipfile.is_zipfile(path):
        raise ConfigError(f"{path}: expected an .npz file, but it is not a zip archive")
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}
    except ConfigError:
        raise
    except Exception as error:  # zipfile and numpy raise many types for damaged files
        raise ConfigError(f"{path}: expected an .npz file, but it cannot be read: {error}") from error


@contextmanager
def open_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """An `.npz` without arrays of objects; ConfigError if it, or an array used in the block, is missing."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("it has one array without a name")
            with loaded:
                yield loaded
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        why = error.args[0] if isinstance(error, KeyError) else error
        raise ConfigError(
            f"{path}: expected an .npz of numpy arrays (see docs/training.md), but {why}"
        ) from error


def _array(data: bytes) -> Any:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        objects = unpickle(file)
        return objects.item() if shape == () and isinstance(objects, np.ndarray) else objects
    file.seek(0)
    return read_array(file, len(data))


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"data: expected a file at {path}, found none; pass its folder with --data")
