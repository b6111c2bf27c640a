"""Arrays of .npy and .npz files, which may be damaged or made by a stranger.

No code of a file is run, and memory is taken only for data that the file really has.
"""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError
from stream.files.bounded import BoundedReader

MAX_ARRAY_BYTES = 1 << 32  # of all arrays of a file: a small file can unpack to a thousand times its size
_SUFFIX = ".npy"


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file by name, or the array of a .npy file under the name "".

    names: of the arrays to read, when the file has them; None reads all. ConfigError for a file that is
    damaged, has Python objects in it, or unpacks to more than MAX_ARRAY_BYTES.
    """
    try:
        if path.suffix != ".npz":
            with path.open("rb") as file:
                return {"": read_array(file, path.stat().st_size)}
        with zipfile.ZipFile(path) as archive:
            _check_unpacked_size(archive)
            arrays = {}
            for info in archive.infolist():
                name = info.filename.removesuffix(_SUFFIX)
                if names is None or name in names:
                    with archive.open(info) as member:
                        arrays[name] = read_array(member, info.file_size)
            return arrays
    except Exception as error:  # zipfile and NumPy raise many types for damaged files
        text = str(error) or type(error).__name__
        raise ConfigError(f"expected numpy arrays without Python objects in them: {text}") from None


def read_array(file: Any, size: int) -> NDArray[Any]:
    """The array in an open .npy file of `size` bytes. ValueError when its header does not fit to that size.

    Raises other errors, of nearly any type, for other damage.
    """
    reader: Any = BoundedReader(file, size)
    version = np.lib.format.read_magic(reader)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(reader)
    else:
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(reader)
    data = reader.read()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and type {dtype} does not fit to {len(data)} bytes")
    array: NDArray[Any] = np.frombuffer(data, dtype) if data else np.zeros(math.prod(shape), dtype)
    return array.reshape(shape, order="F" if fortran_order else "C").copy()


def array_names(path: Path) -> list[str]:
    """Names of the arrays of a .npz file; none when it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(_SUFFIX) for name in archive.namelist()]
    except Exception:  # zipfile raises many types for damaged files
        return []


def _check_unpacked_size(archive: zipfile.ZipFile) -> None:
    size = sum(member.file_size for member in archive.infolist())
    if size > MAX_ARRAY_BYTES:
        raise ValueError(f"they unpack to {size / 1e9:.1f} GB, more than {MAX_ARRAY_BYTES / 1e9:.1f} GB")
