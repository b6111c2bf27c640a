"""Arrays inside documents: bin of little-endian float32 or uint8, or nested lists with None for NaN."""

import math
from typing import Any

import numpy as np

from stream.errors import DecodeError
from stream.messages import F32, U8
from stream.wire.schema import Format


def pack(array: F32, format: Format) -> Any:
    """A float32 array as bin, or for JSON as nested lists, in which NaN becomes null."""
    if format == "msgpack":
        return array.astype("<f4", copy=False).tobytes()
    # Nine significant digits identify a float32; its exact decimal value has up to twice as many.
    wide = array.astype(np.float64)
    digits = 8 - np.floor(np.log10(np.clip(np.abs(wide), 1e-14, 1e8)))
    scale = 10.0 ** np.nan_to_num(digits)
    return (np.round(wide * scale) / scale).tolist()


def pack_origin(origin: U8, format: Format) -> Any:
    """A uint8 array as bin, or for JSON as a list."""
    return origin.tobytes() if format == "msgpack" else origin.tolist()


def unpack(what: str, value: Any, *row: int) -> F32:
    """A packed array as (n, *row) float32; DecodeError when it is none."""
    if isinstance(value, bytes):
        if len(value) % (4 * math.prod(row)):
            raise DecodeError(f"{what}: expected float32 {('J', *row)}, got {len(value)} bytes")
        return np.frombuffer(value, "<f4").astype(np.float32, copy=False).reshape(-1, *row)
    try:
        with np.errstate(over="ignore"):  # too large a number becomes inf, which the caller refuses
            array = np.array(value, np.float32)
    except ValueError as error:
        raise DecodeError(f"{what}: expected shape {('J', *row)}, got rows of unequal length") from error
    if array.shape[1:] != row:
        raise DecodeError(f"{what}: expected shape {('J', *row)}, got {array.shape}")
    return array


def unpack_origin(value: bytes | list[int]) -> U8:
    """Packed origins as (n,) uint8; DecodeError when a value is none."""
    try:
        return np.frombuffer(bytes(value), np.uint8)
    except ValueError as error:
        raise DecodeError("origin: expected values 0 to 3") from error
