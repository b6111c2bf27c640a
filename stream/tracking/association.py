"""Association of detections with tracks: similarity to the expected joints, and the best assignment."""

import math
from operator import mul, sub
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.messages import F32, Mask
from stream.tracking.track import MIN_BODY_PX, Track, body_size, body_sizes, expected_joints

F64 = NDArray[np.float64]

# Standard deviations of the differences between a detection and its track; they grow with the seconds since
# the last detection. The centre of the body in body sizes, each joint around it in body sizes, the logarithm
# of the apparent size. The first tolerates motion; the last separates a near from a far person when they
# cross.
CENTRE_SIGMA, CENTRE_SIGMA_PER_S = 0.04, 0.3
NEW_CENTRE_SIGMA_PER_S = 0.9  # of a track with one detection: its velocity is unknown
JOINT_SIGMA, JOINT_SIGMA_PER_S = 0.06, 0.1
SCALE_SIGMA, SCALE_SIGMA_PER_S = 0.06, 0.05
MIN_SIMILARITY = 0.01  # of 1
_MIN_SCALE_JOINTS = 4  # fewer common joints say nothing about apparent size


def associate(persons: list[F32], tracks: list[Track], now_ns: int) -> list[tuple[int, int]]:
    """(person, track) pairs with the largest total similarity, each pair above MIN_SIMILARITY.

    persons: joints (J, 2) px, NaN where missing.
    """
    if not persons or not tracks:
        return []
    pairs = associate_apart(persons, tracks, now_ns)
    if pairs is not None:
        return pairs
    similar = similarity(persons, tracks, now_ns)
    gain = np.log(np.maximum(similar, MIN_SIMILARITY) / MIN_SIMILARITY)
    return [(row, column) for row, column in solve_assignment(-gain) if gain[row, column] > 0]


def associate_apart(persons: list[F32], tracks: list[Track], now_ns: int) -> list[tuple[int, int]] | None:
    """Fast path: the pairs of `associate` when all people stand apart; None when that is undecided.

    It takes the centre and the spread of each body alone: an upper bound of `similarity` shows which persons
    and tracks cannot be pairs, and a lower bound that the others are pairs.
    """
    if len(persons) == len(tracks) == 1:
        missing_s = tracks[0].missing_s(now_ns)
        pair = _pair(persons[0], tracks[0], missing_s)
        return [(0, 0)] if pair and pair.is_similar(persons[0], tracks[0], missing_s) else None
    joints = np.array([*persons, *(track.xy for track in tracks)], np.float64)  # (P + T, J, 2)
    if not math.isfinite(np.add.reduce(joints, None)):
        return None
    first, count = len(persons), joints.shape[1]
    centre = np.add.reduce(joints, 1) / count
    spread = np.einsum("njc,njc->n", joints, joints) / count - _squared_length(centre)
    missing_s_of = [track.missing_s(now_ns) for track in tracks]
    sigma = [
        CENTRE_SIGMA + _centre_sigma_per_s(track) * s for track, s in zip(tracks, missing_s_of, strict=True)
    ]
    ways = np.array([track.way(s) for track, s in zip(tracks, missing_s_of, strict=True)])
    near = _can_be_pairs(centre[:first, None] - (centre[first:] + ways), spread, sigma, count)
    rows, columns = np.nonzero(near)
    pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
    if len({row for row, _ in pairs}) < len(pairs) or len({column for _, column in pairs}) < len(pairs):
        return None
    offset = joints[rows] - joints[first + columns]  # (N, J, 2)
    mean_offset = centre[rows] - centre[first + columns]
    joint_offset = np.einsum("njc,njc->n", offset, offset) / count - _squared_length(mean_offset)
    moments = np.array(
        [_squared_length(mean_offset - ways[columns]), joint_offset, spread[rows], spread[first + columns]]
    )
    for (row, column), pair in zip(pairs, moments.T.tolist(), strict=True):
        if not _Pair(*pair).is_similar(persons[row], tracks[column], missing_s_of[column]):
            return None
    return pairs


def _can_be_pairs(offset: F64, spread: F64, sigma: list[float], joints: int) -> Mask:
    """Upper bound: which persons and tracks (P, T) may have a similarity above MIN_SIMILARITY.

    offset (P, T, 2) px between centres; spread (P + T,) px squared; sigma (T,): of the centre.
    """
    persons = len(offset)
    # The box around points of spread s has a diagonal of at most sqrt(2 J s).
    size2 = np.maximum(spread[:persons, None], spread[persons:]) * (2 * joints)
    limit = [2 * s * s * math.log(CENTRE_SIGMA / (s * MIN_SIMILARITY)) for s in sigma]
    near: Mask = _squared_length(offset) < np.maximum(size2, MIN_BODY_PX**2) * limit
    return near


class _Pair(NamedTuple):
    """A person and a track: squared offset of the centres, mean squared offset of the joints around them, and
    mean squared distance of the joints of both from their centres, in px squared.
    """

    centre_offset: float
    joint_offset: float
    spread: float
    track_spread: float

    def is_similar(self, xy: F32, track: Track, missing_s: float) -> bool:
        """Lower bound: whether `similarity` is surely above MIN_SIMILARITY.

        The bound is `similarity` with the mean over joints moved into the exponential, which by Jensen's
        inequality makes it no larger.
        """
        spread, track_spread = max(self.spread, 1.0), max(self.track_spread, 1.0)
        if not math.isfinite(self.centre_offset + self.joint_offset + spread + track_spread):
            return False
        centre_sigma = CENTRE_SIGMA + _centre_sigma_per_s(track) * missing_s
        joint_sigma = JOINT_SIGMA + JOINT_SIGMA_PER_S * missing_s
        scale = 0.5 * math.log(spread / track_spread) / (SCALE_SIGMA + SCALE_SIGMA_PER_S * missing_s)
        distance = self.joint_offset / joint_sigma**2 + self.centre_offset / centre_sigma**2

        def is_above(size2: float) -> bool:
            bound = math.exp(-0.5 * (distance / size2 + scale**2)) * CENTRE_SIGMA / centre_sigma
            return bound > MIN_SIMILARITY

        # A box of diagonal d holds points with a spread of at most d^2 / 4, and measuring boxes takes time.
        return is_above(4 * max(spread, track_spread)) or is_above(max(body_size(xy), track.size) ** 2)


def _pair(xy: F32, track: Track, missing_s: float) -> _Pair | None:
    """A person with joints xy (J, 2) px and a track; None without common joints.

    For the joints of a single person lists take two thirds of the time of arrays.
    """
    joints, tracked = xy.ravel().tolist(), track.xy.ravel().tolist()
    if not math.isfinite(sum(joints) + sum(tracked)):
        common = [n for n, (a, b) in enumerate(zip(joints, tracked, strict=True)) if math.isfinite(a + b)]
        joints, tracked = [joints[n] for n in common], [tracked[n] for n in common]
        if not common:
            return None
    offset = list(map(sub, joints, tracked))
    count, (way_x, way_y) = len(offset) // 2, track.way(missing_s)
    x, y = sum(offset[::2]) / count, sum(offset[1::2]) / count
    return _Pair((x - way_x) ** 2 + (y - way_y) ** 2, _spread(offset), _spread(joints), _spread(tracked))


def _spread(xy: list[float]) -> float:
    """Mean squared distance of points x0, y0, x1, y1 ... from their centre."""
    x, y = sum(xy[::2]), sum(xy[1::2])
    count = len(xy) / 2
    squares: float = sum(map(mul, xy, xy))
    return (squares - (x * x + y * y) / count) / count


def similarity(persons: list[F32], tracks: list[Track], now_ns: int) -> F64:
    """(P, T) in 0..1: similarity of P detections and T tracks in shape, place and apparent size.

    Only joints that both have count. Shape is object keypoint similarity around the centre of the body; the
    centre should be where the track's motion takes it.
    """
    detected = np.array(persons)
    joints = detected.astype(np.float64)[:, None]  # (P, 1, J, 2)
    expected = expected_joints(tracks, now_ns).astype(np.float64)  # (T, J, 2)
    missing_s = np.array([track.missing_s(now_ns) for track in tracks])
    size = np.maximum(np.array(body_sizes(detected))[:, None], [track.size for track in tracks])
    offset = joints - expected  # (P, T, J, 2), NaN where either lacks the joint
    common = np.isfinite(offset[..., 0])
    count = np.maximum(np.add.reduce(common, 2, np.int64), 1)
    if not common.all():
        mask = common[..., None]
        joints, expected = np.where(mask, joints, 0), np.where(mask, expected, 0)
        offset = np.where(mask, offset, 0)
    centre_offset = np.add.reduce(offset, 2) / count[..., None]
    offset -= centre_offset[:, :, None]
    joint_sigma_px = (JOINT_SIGMA + JOINT_SIGMA_PER_S * missing_s) * size
    joint_distance = _squared_length(offset) / (joint_sigma_px * joint_sigma_px)[..., None]
    shape = np.add.reduce(np.exp(-0.5 * joint_distance) * common, 2) / count
    scale = 0.5 * np.log(_extent(joints, count) / _extent(expected, count))
    scale[count < _MIN_SCALE_JOINTS] = 0
    centre_sigma = CENTRE_SIGMA + np.array([_centre_sigma_per_s(track) for track in tracks]) * missing_s
    scale_sigma = SCALE_SIGMA + SCALE_SIGMA_PER_S * missing_s
    distance = _squared_length(centre_offset) / (centre_sigma * size) ** 2 + (scale / scale_sigma) ** 2
    # Divide by the spread (Gaussian normalisation), so that an uncertain track does not win ties.
    similar: F64 = shape * np.exp(-0.5 * distance) * CENTRE_SIGMA / centre_sigma
    similar[np.isnan(similar)] = 0  # of coordinates that overflow
    return similar


def warm_up() -> None:
    """Import the solver now, so that the first disputed assignment of a live camera does not wait for it."""
    solve_assignment(np.zeros((2, 2)))


def solve_assignment(cost: F64) -> list[tuple[int, int]]:
    """(row, column) pairs with the lowest total cost (N, M), as many as the shorter side, ordered by row."""
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in solve_assignment(cost.T))
    best = cost.argmin(axis=1).tolist()
    if len(set(best)) == len(best):  # fast path: all row minima are in different columns
        return list(enumerate(best))
    from scipy.optimize import linear_sum_assignment  # takes half a second to import

    rows, columns = linear_sum_assignment(cost)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _centre_sigma_per_s(track: Track) -> float:
    return CENTRE_SIGMA_PER_S if track.updates else NEW_CENTRE_SIGMA_PER_S


def _squared_length(xy: F64) -> F64:
    """Squared lengths (...) of xy (..., 2)."""
    squares: F64 = np.einsum("...c,...c->...", xy, xy)
    return squares


def _extent(xy: F64, count: NDArray[np.int64]) -> F64:
    """Mean squared distance (P, T) of `count` (P, T) joints of xy (P | 1, T | 1, J, 2) from their centre."""
    centre = np.add.reduce(xy, -2) / count[..., None]
    extent: F64 = np.maximum(np.add.reduce(_squared_length(xy), -1) / count - _squared_length(centre), 1.0)
    return extent
