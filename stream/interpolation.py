"""Interpolation of rows that have a time each, such as poses and keypoints, at other times.

Times are int64 nanoseconds in ascending order; the first and the last row are held beyond the ends.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]
_I64 = NDArray[np.int64]


def neighbours(times_ns: _I64, at_ns: int) -> tuple[int, int, float]:
    """The rows before and after the time `at_ns`, and the weight (0..1) of the one after.

    For a single time this is several times faster than `fractional_rows`, which is for arrays.
    """
    newest = len(times_ns) - 1
    if at_ns >= times_ns[newest]:
        return newest, newest, 0.0
    before = max(int(times_ns.searchsorted(at_ns, "right")) - 1, 0)
    after = min(before + 1, newest)
    gap_ns = int(times_ns[after] - times_ns[before])
    weight = min(max((at_ns - int(times_ns[before])) / gap_ns, 0.0), 1.0) if gap_ns > 0 else 0.0
    return before, after, weight


def fractional_rows(times_ns: _I64, at_ns: _I64) -> _F64:
    """Row numbers (T,) float64 of the times at_ns (T,) among times_ns (N,): 2.5 is midway between 2 and 3."""
    start_ns = times_ns[0]  # differences are exact as float64, times since 1970 are not
    rows: _F64 = np.interp(at_ns - start_ns, times_ns - start_ns, np.arange(len(times_ns)))
    return rows


def fractional_rows_of_many(times_ns: Sequence[_I64], at_ns: _I64) -> tuple[_F64, NDArray[np.intp]]:
    """`fractional_rows` of B series at once: times_ns, B series (N_b,) of any lengths; at_ns (B, T).

    Returns the rows (B, T) float64 of each series, and the row (B, 1) at which each series begins when all of
    them are concatenated.
    """
    lengths = np.array([len(times) for times in times_ns])
    # One search over all series at once is slower for fewer than seven series and hardly faster for more.
    rows = np.array([fractional_rows(times, at) for times, at in zip(times_ns, at_ns, strict=True)])
    return rows, (lengths.cumsum() - lengths)[:, None]


def interpolate(values: _F32, rows: _F64) -> _F32:
    """The values (N, ...) float32 at fractional rows (T,) float64 in 0..N-1: (T, ...) float32."""
    before_row = rows.astype(np.intp)
    before: _F32 = values.take(before_row, axis=0)
    weight = (rows - before_row).astype(np.float32)
    if weight.any():
        after = values.take(np.minimum(before_row + 1, len(values) - 1), axis=0)
        before += weight.reshape(-1, *[1] * (values.ndim - 1)) * (after - before)
    return before
