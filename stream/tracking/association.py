"""Association of detections with tracks: similarity to the expected joints, and the best assignment."""

import math

import numpy as np
from numpy.typing import NDArray

from stream.messages import F32
from stream.tracking.track import Track, body_sizes, expected_joints

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
    if len(persons) == len(tracks) == 1 and fast_accept(persons[0], tracks[0], now_ns):
        return [(0, 0)]
    similar = similarity(persons, tracks, now_ns)
    gain = np.log(np.maximum(similar, MIN_SIMILARITY) / MIN_SIMILARITY)
    return [(row, column) for row, column in solve_assignment(-gain) if gain[row, column] > 0]


def fast_accept(xy: F32, track: Track, now_ns: int) -> bool:
    """Fast accept: a cheap lower bound of the similarity. False means undecided, compute it in full.

    xy: joints (J, 2) px. The bound is `similarity` with the mean over joints moved into the exponential,
    which by Jensen's inequality makes it no larger.
    """
    expected = expected_joints([track], now_ns)[0]
    points = np.array((xy - expected, xy, expected), np.float64)  # (3, J, 2)
    finite = np.isfinite(points[0, :, 0])
    if (count := np.count_nonzero(finite)) < len(finite):
        if not count:
            return False
        points = points[:, finite]
    means = (np.add.reduce(points, 1) / count).tolist()
    squares = (np.einsum("njc,njc->n", points, points) / count).tolist()
    # Of the offsets, the detection and the track: the squared length of the mean, and the spread around it.
    centre_offset, *_ = lengths = [x * x + y * y for x, y in means]
    joint_offset, extent, expected_extent = (
        square - length for square, length in zip(squares, lengths, strict=True)
    )
    extent, expected_extent = max(extent, 1.0), max(expected_extent, 1.0)
    if not math.isfinite(centre_offset + joint_offset + extent + expected_extent):
        return False
    missing_s = max(0, now_ns - track.last_ns) / 1e9
    centre_sigma = CENTRE_SIGMA + _centre_sigma_per_s(track) * missing_s
    joint_sigma = JOINT_SIGMA + JOINT_SIGMA_PER_S * missing_s
    scale = 0.5 * math.log(extent / expected_extent) / (SCALE_SIGMA + SCALE_SIGMA_PER_S * missing_s)
    distance = joint_offset / joint_sigma**2 + centre_offset / centre_sigma**2

    def is_similar(size2: float) -> bool:
        bound = math.exp(-0.5 * (distance / size2 + scale**2)) * CENTRE_SIGMA / centre_sigma
        return bound > MIN_SIMILARITY

    # A box of diagonal d holds points with a spread of at most d^2 / 4, and measuring boxes takes time.
    return is_similar(4 * max(extent, expected_extent)) or is_similar(
        max(body_sizes(xy[None])[0], track.size) ** 2
    )


def similarity(persons: list[F32], tracks: list[Track], now_ns: int) -> F64:
    """(P, T) in 0..1: similarity of P detections and T tracks in shape, place and apparent size.

    Only joints that both have count. Shape is object keypoint similarity around the centre of the body; the
    centre should be where the track's motion takes it.
    """
    detected = np.array(persons)
    joints = detected.astype(np.float64)[:, None]  # (P, 1, J, 2)
    expected = expected_joints(tracks, now_ns).astype(np.float64)  # (T, J, 2)
    missing_s = np.array([max(0, now_ns - track.last_ns) for track in tracks]) / 1e9
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
