"""Which detection continues whom: where each person's joints should be by now, and the best pairing."""

import math

import numpy as np
from numpy.typing import NDArray

from stream.messages import F32
from stream.tracking.track import Track, body_size

F64 = NDArray[np.float64]

# What a match may differ by, as standard deviations that grow with the seconds since the last sighting: the
# middle of the body in body sizes, each joint around it in body sizes, the logarithm of apparent size. The
# first is for motion, the last for telling the nearer of two who cross from the farther.
_MIDDLE, _MIDDLE_PER_S, _MIDDLE_PER_S_AT_FIRST = 0.04, 0.3, 0.9  # at first the speed is not known
_JOINT, _JOINT_PER_S = 0.06, 0.1
_SCALE, _SCALE_PER_S = 0.06, 0.05
_LEAST_MATCH = 0.01  # of 1


def associate(persons: list[F32], tracks: list[Track], now_ns: int) -> list[tuple[int, int]]:
    """(person, track) pairs of the likeliest way to pair them up, each no worse than the least match."""
    if not persons or not tracks:
        return []
    if len(persons) == len(tracks) == 1 and _surely(persons[0], tracks[0], now_ns):
        return [(0, 0)]
    like = _likeness(persons, tracks, now_ns)
    gain = np.log(np.maximum(like, _LEAST_MATCH) / _LEAST_MATCH)
    return [(row, column) for row, column in solve_assignment(-gain) if gain[row, column] > 0]


def _surely(xy: F32, track: Track, now_ns: int) -> bool:
    """Whether a person is alike enough to a track by a bound that is soon told; False may be either.

    That is `_likeness`, but with the mean over joints inside the exponential, which makes it no larger.
    """
    seen, expected = xy.astype(np.float64), track.expected(now_ns).astype(np.float64)
    both = np.isfinite(seen[:, 0] + expected[:, 0])
    if (count := np.count_nonzero(both)) < len(both):
        if not count:
            return False
        seen, expected = seen[both], expected[both]
    middle, away = _moments(seen - expected)
    extent, expected_extent = max(_moments(seen)[1], 1.0), max(_moments(expected)[1], 1.0)
    if not math.isfinite(middle + away + extent + expected_extent):
        return False
    size, gone_s = max(body_size(xy), track.size), max(0, now_ns - track.seen_ns) / 1e9
    spread = _MIDDLE + (_MIDDLE_PER_S if track.steps else _MIDDLE_PER_S_AT_FIRST) * gone_s
    scale = 0.5 * math.log(extent / expected_extent) / (_SCALE + _SCALE_PER_S * gone_s)
    reach = _JOINT + _JOINT_PER_S * gone_s
    unlike = (away / reach**2 + middle / spread**2) / size**2 + scale**2
    return math.exp(-0.5 * unlike) * _MIDDLE / spread > _LEAST_MATCH


def _moments(xy: F64) -> tuple[float, float]:
    """The squared length of the mean of xy (J, 2), and the mean squared distance from it."""
    x, y = (np.add.reduce(xy) / len(xy)).tolist()
    middle = x * x + y * y
    return middle, float(np.vdot(xy, xy)) / len(xy) - middle


def _likeness(persons: list[F32], tracks: list[Track], now_ns: int) -> F64:
    """(P, T) in 0..1: how alike those are in shape, place and extent, over the joints both have.

    Shape is object keypoint similarity around the middle; the middle should be where motion takes it.
    """
    seen = np.array(persons, np.float64)[:, None]  # (P, 1, J, 2)
    expected = np.array([track.expected(now_ns) for track in tracks], np.float64)  # (T, J, 2)
    gone_s = np.array([max(0, now_ns - track.seen_ns) for track in tracks]) / 1e9
    size = np.maximum(np.array([body_size(xy) for xy in persons])[:, None], [track.size for track in tracks])
    off = seen - expected  # (P, T, J, 2), NaN where one of them lacks the joint
    both = np.isfinite(off[..., 0])
    count = np.maximum(np.add.reduce(both, 2, np.int64), 1)
    if not both.all():
        there = both[..., None]
        seen, expected, off = np.where(there, seen, 0), np.where(there, expected, 0), np.where(there, off, 0)
    middle = np.add.reduce(off, 2) / count[..., None]
    off -= middle[:, :, None]
    reach = (_JOINT + _JOINT_PER_S * gone_s) * size
    away = _squares(off) / (reach * reach)[..., None]
    shape = np.add.reduce(np.exp(-0.5 * away) * both, 2) / count
    scale = 0.5 * np.log(_extent(seen, count) / _extent(expected, count))
    scale[count < 4] = 0
    speed = np.array([_MIDDLE_PER_S if track.steps else _MIDDLE_PER_S_AT_FIRST for track in tracks])
    spread = _MIDDLE + speed * gone_s
    off_by = _squares(middle) / (spread * size) ** 2 + (scale / (_SCALE + _SCALE_PER_S * gone_s)) ** 2
    # Of two guesses that fit alike, the vaguer one is the less likely.
    like: F64 = shape * np.exp(-0.5 * off_by) * _MIDDLE / spread
    like[np.isnan(like)] = 0  # of positions beyond all numbers
    return like


def _squares(xy: F64) -> F64:
    """Squared lengths (...) of xy (..., 2)."""
    squares: F64 = np.einsum("...c,...c->...", xy, xy)
    return squares


def _extent(xy: F64, count: NDArray[np.int64]) -> F64:
    """Mean square distance of (P, T) `count` joints of xy (P or 1, T or 1, J, 2) from their middle."""
    middle = np.add.reduce(xy, -2) / count[..., None]
    extent: F64 = np.maximum(np.add.reduce(_squares(xy), -1) / count - _squares(middle), 1.0)
    return extent


def solve_assignment(cost: F64) -> list[tuple[int, int]]:
    """(row, column) pairs, as many as the shorter side of cost (N, M), that cost least in sum.

    The Hungarian method: rows come one by one, each along the cheapest path of exchanges.
    """
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in solve_assignment(cost.T))
    rows, columns = cost.shape
    best = cost.argmin(axis=1)
    if len(set(best.tolist())) == rows:  # nobody disputes anybody's best
        return list(enumerate(best.tolist()))
    of_row, of_column = np.zeros(rows), np.zeros(columns)  # what each must at least pay
    owner = np.full(columns, -1)
    for start in range(rows):
        shortest, before = np.full(columns, np.inf), np.full(columns, -1)
        done = np.zeros(columns, bool)
        row, paid, last = start, 0.0, -1
        while row >= 0:
            through = paid + cost[row] - of_row[row] - of_column
            better = ~done & (through < shortest)
            shortest[better], before[better] = through[better], last
            last = int(np.where(done, np.inf, shortest).argmin())
            done[last], paid, row = True, shortest[last], int(owner[last])
        of_row[start] += paid
        for column in np.flatnonzero(done & (owner >= 0)):
            of_row[owner[column]] += paid - shortest[column]
        of_column[done] -= paid - shortest[done]
        while last >= 0:
            owner[last] = owner[before[last]] if before[last] >= 0 else start
            last = int(before[last])
    return sorted((int(owner[column]), int(column)) for column in np.flatnonzero(owner >= 0))
