"""Arrays of .npy and .npz files, which may be damaged or made by a stranger."""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError

MAX_ARRAY_BYTES = 1 << 32  # of all arrays of a file: a small file can claim, or unpack to, any size
# What NumPy and zipfile raise for damaged files, encrypted files, and sizes beyond the memory.
_READ_ERRORS = (
    *(OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, struct.error),
)


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file by name, or the array of a .npy file under the name "".

    names: of the arrays to read, when the file has them; None reads all. ConfigError for a file that is
    damaged, has Python objects in it, or unpacks to more than MAX_ARRAY_BYTES.
    """
    try:
        if path.suffix == ".npz":
            _check_unpacked_size(path)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded if names is None or name in names}
    except _READ_ERRORS as error:
        text = str(error) or type(error).__name__
        raise ConfigError(f"expected numpy arrays without Python objects in them: {text}") from None


def array_names(path: Path) -> list[str]:
    """Names of the arrays of a .npz file; none when it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _READ_ERRORS:
        return []


def _check_unpacked_size(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MAX_ARRAY_BYTES:
        raise ValueError(f"they unpack to {size / 1e9:.1f} GB, more than {MAX_ARRAY_BYTES / 1e9:.1f} GB")
