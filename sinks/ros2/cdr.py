"""CDR, the byte format of ROS 2 messages: XCDR1, little-endian, as DDS sends it and MCAP stores it."""

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

_HEADER = b"\x00\x01\x00\x00"  # CDR, little-endian
_SIZES = {"u8": 1, "bool": 1, "i32": 4, "u32": 4, "f32": 4, "f64": 8}
_CODES = {"u8": "B", "bool": "?", "i32": "i", "u32": "I", "f32": "f", "f64": "d"}
_LENGTH = struct.Struct("<I").pack


class CdrWriter:
    """Appends values; each is aligned to its own size, counted after the four header bytes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def put(self, kind: str, *values: float) -> "CdrWriter":
        """Append numbers of one kind: u8, bool, i32, u32, f32 or f64."""
        self._align(_SIZES[kind])
        self._data += _packer(kind, len(values))(*values)
        return self

    def text(self, value: str) -> "CdrWriter":
        """Append a string: its length with the closing NUL, its bytes, the NUL."""
        data = value.encode()
        self._align(4)
        self._data += _LENGTH(len(data) + 1) + data + b"\0"
        return self

    def texts(self, values: Sequence[str]) -> "CdrWriter":
        """Append a sequence of strings."""
        self.put("u32", len(values))
        for value in values:
            self.text(value)
        return self

    def array(self, kind: str, values: NDArray[Any]) -> "CdrWriter":
        """Append all numbers of an array, without a count."""
        self._align(_SIZES[kind])
        self._data += values.astype(f"<{kind[0]}{_SIZES[kind]}", copy=False).tobytes()
        return self

    def getvalue(self) -> bytes:
        """The message, header included."""
        return _HEADER + bytes(self._data)

    def _align(self, size: int) -> None:
        if missing := -len(self._data) % size:
            self._data += bytes(missing)


@functools.cache
def _packer(kind: str, count: int) -> Callable[..., bytes]:
    return struct.Struct(f"<{count}{_CODES[kind]}").pack
