"""Reads the pickles this field keeps its data in, and nothing that could run code.

Dictionaries, lists, numbers, text and numpy arrays come through; any other name in a pickle is refused.
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

_NUMPY = {"_reconstruct", "scalar", "_frombuffer"}
_ALLOWED = {
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": _NUMPY,
    "numpy._core.multiarray": _NUMPY,
    "numpy.core.numeric": _NUMPY,
    "numpy._core.numeric": _NUMPY,
    "collections": {"OrderedDict"},
    "_codecs": {"encode"},  # how Python 2 and protocol 2 carry bytes
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise ConfigError(
                f"data file: expected only numpy arrays, dictionaries, lists, numbers and text, "
                f"but it asks for {module}.{name}; it is not loaded"
            )
        # numpy 2 moved these names; files of both are read.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def unpickle(file: BinaryIO) -> Any:
    """The object in an open pickle."""
    try:
        return _Unpickler(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ValueError, IndexError, TypeError) as error:
        raise ConfigError(
            f"data file: expected a pickle of arrays, but it cannot be read: {error}"
        ) from error


def read_pickle(path: Path) -> Any:
    """The object in the pickle at `path`."""
    _expect(path)
    with path.open("rb") as file:
        return unpickle(file)


def read_npz(path: Path) -> dict[str, Any]:
    """All arrays of an `.npz`; those of objects are unpickled safely, and a single object comes as itself."""
    _expect(path)
    if not zipfile.is_zipfile(path):
        raise ConfigError(f"{path}: expected an .npz file, but it is no zip archive")
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}


@contextmanager
def arrays(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of an `.npz`, of which none may hold objects; what cannot be read or is absent is said."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name")
            with loaded:
                yield loaded
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        why = error.args[0] if isinstance(error, KeyError) else error
        raise ConfigError(
            f"{path}: expected an .npz of numpy arrays as docs/training.md has it, but {why}"
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
    return np.load(file, allow_pickle=False)


def _expect(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"data: expected a file at {path}, found none; say with --data where your data is")
