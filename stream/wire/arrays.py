"""Arrays in documents: bin of little-endian float32 or uint8, or nested lists with None for NaN."""

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
    doubles = array.astype(np.float64)
    decimals = 8 - np.floor(np.log10(np.clip(np.abs(doubles), 1e-14, 1e8)))
    scale = 10.0 ** np.nan_to_num(decimals)
    return (np.round(doubles * scale) / scale).tolist()


def pack_origin(origin: U8, format: Format) -> Any:
    """A uint8 array as bin, or for JSON as a list."""
    return origin.tobytes() if format == "msgpack" else origin.tolist()


def unpack(name: str, value: Any, *row_shape: int) -> F32:
    """A packed array as (J, *row_shape) float32; DecodeError for another shape. `name` is for errors."""
    shape = ("J", *row_shape)
    if isinstance(value, bytes):
        if len(value) % (4 * math.prod(row_shape)):
            raise DecodeError(f"{name}: expected float32 {shape}, got {len(value)} bytes")
        return np.frombuffer(value, "<f4").astype(np.float32, copy=False).reshape(-1, *row_shape)
    try:
        with np.errstate(over="ignore"):  # A number beyond float32 becomes inf, which the caller refuses.
            array = np.array(value, np.float32)
    except ValueError as error:
        raise DecodeError(f"{name}: expected shape {shape}, got rows of unequal length") from error
    if array.shape[1:] != row_shape:
        raise DecodeError(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def unpack_origin(value: bytes | list[int]) -> U8:
    """Packed origins as (J,) uint8; DecodeError for a value beyond uint8."""
    try:
        return np.frombuffer(bytes(value), np.uint8)
    except ValueError as error:
        raise DecodeError("origin: expected values 0 to 3") from error
