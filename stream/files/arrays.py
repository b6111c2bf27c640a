"""Arrays of `.npz` and `.npy` files of unknown origin.

No code of a file is run, and memory is taken only for data that the file really has.
"""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError
from stream.files.bounded import BoundedReader

_SUFFIX = ".npy"


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name; the only array of a `.npy` file is called "".

    Raises ConfigError for files that are damaged, or that hold anything else than arrays of plain values.
    Compressed data may need a thousand times the memory of the file.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return {"": read_array(file, path.stat().st_size)}
            with zipfile.ZipFile(file) as archive:
                arrays = {}
                for info in archive.infolist():
                    with archive.open(info) as member:
                        arrays[info.filename.removesuffix(_SUFFIX)] = read_array(member, info.file_size)
                return arrays
    except Exception as error:  # zipfile and numpy raise many types for junk
        reason = str(error) or type(error).__name__
        raise ConfigError(f"expected numpy arrays without Python objects in them: {reason}") from None


def read_array(file: Any, size: int) -> NDArray[Any]:
    """The array in an open `.npy` file of `size` bytes. ValueError when its header does not fit to that size.

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
