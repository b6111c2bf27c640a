import itertools
import sys

import numpy as np
import pytest

from stream.tracking.association import (
    MIN_SIMILARITY,
    associate,
    associate_apart,
    similarity,
    solve_assignment,
    warm_up,
)
from stream.tracking.track import Track, update_tracks

MS = 1_000_000


def body(rng: np.random.Generator, joint_noise_px: float = 0.0, offset_px: float = 0.0) -> np.ndarray:
    """(17, 2) px: the same body, with noise on its joints and its position."""
    joints = np.random.default_rng(1).uniform(100, 300, (17, 2))
    noise = rng.normal(0, joint_noise_px, (17, 2)) + rng.normal(0, offset_px, (1, 2))
    return (joints + noise).astype(np.float32)


def track_at(xy: np.ndarray) -> Track:
    return Track(xy, 0, None, external_id=False)


@pytest.mark.parametrize("hidden", [0.0, 0.5])
def test_the_fast_path_never_accepts_a_pair_below_the_minimal_similarity(hidden: float):
    rng, accepted, similar = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        track = track_at(body(rng))
        xy = body(rng, rng.uniform(0, 40), rng.uniform(0, 80)) * np.float32(rng.uniform(0.8, 1.2))
        xy[rng.random(17) < hidden] = np.nan
        now_ns = int(rng.integers(10, 1000)) * MS
        is_similar = similarity([xy], [track], now_ns)[0, 0] > MIN_SIMILARITY
        is_accepted = associate_apart([xy], [track], now_ns) == [(0, 0)]
        assert is_similar or not is_accepted
        accepted, similar = accepted + is_accepted, similar + is_similar
    assert 0.8 * similar < accepted < 800  # it decides most pairs


@pytest.mark.parametrize("distance_px", [60.0, 150.0, 400.0])
def test_the_fast_path_agrees_with_the_best_assignment_of_a_crowd(distance_px: float):
    rng, decided = np.random.default_rng(0), 0
    for _ in range(200):
        places = distance_px * np.arange(6, dtype=np.float32)[:, None] * (1, 0)
        tracks = [track_at(body(rng, 3) + place.astype(np.float32)) for place in places]
        for track in tracks:
            track.updates = 1
        order = rng.permutation(6)[: rng.integers(1, 7)]
        persons = [body(rng, 3, 3) + places[index].astype(np.float32) for index in order]
        now_ns = int(rng.integers(10, 200)) * MS
        gain = np.log(np.maximum(similarity(persons, tracks, now_ns) / MIN_SIMILARITY, 1))
        best = [(row, column) for row, column in solve_assignment(-gain) if gain[row, column] > 0]
        pairs = associate_apart(persons, tracks, now_ns)
        assert pairs is None or pairs == best
        decided += pairs is not None
    assert decided > {60.0: -1, 150.0: 20, 400.0: 150}[distance_px]


def test_a_detection_is_associated_when_near_and_not_when_far():
    rng = np.random.default_rng(0)
    track = track_at(body(rng))
    assert associate([body(rng, 2)], [track], 20 * MS) == [(0, 0)]
    assert associate([body(rng, 2) + np.float32(500)], [track], 20 * MS) == []


def test_a_detection_without_common_joints_is_not_associated():
    rng = np.random.default_rng(0)
    legs, arms = body(rng), body(rng)
    legs[8:], arms[:8] = np.nan, np.nan
    assert associate([legs], [track_at(arms)], 20 * MS) == []


def test_without_people_or_tracks_no_pair_is_associated():
    rng = np.random.default_rng(0)
    assert associate([], [track_at(body(rng))], 20 * MS) == []
    assert associate([body(rng)], [], 20 * MS) == []


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 2), (5, 5), (6, 4)])
def test_the_assignment_has_the_lowest_total_cost(shape: tuple[int, int]):
    random = np.random.default_rng(7)
    for _ in range(50):
        cost = random.normal(size=shape).round(1)
        pairs = solve_assignment(cost)
        assert pairs == sorted(pairs)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == min(shape)
        tall = cost if shape[0] >= shape[1] else cost.T
        assignments = itertools.permutations(range(tall.shape[0]), tall.shape[1])
        lowest = min(
            sum(tall[row, column] for column, row in enumerate(assignment)) for assignment in assignments
        )
        assert sum(cost[pair] for pair in pairs) == pytest.approx(lowest)


def test_warm_up_imports_the_solver():
    warm_up()
    assert "scipy.optimize" in sys.modules


def test_the_apparent_size_of_three_joints_does_not_count():
    """The face of a person whose body is hidden: its joints lie a few pixels apart, as far as noise."""
    before = body(np.random.default_rng(0))
    before[:3] = (100, 100), (103, 100), (100, 103)
    now = np.full((17, 2), np.nan, np.float32)
    now[:3] = (100, 100), (106, 100), (100, 106)
    assert associate([now], [track_at(before)], 20 * MS) == [(0, 0)]


def test_a_new_person_may_move_further_than_one_whose_velocity_is_known():
    before = body(np.random.default_rng(0))
    moved = before + np.float32([75, 0])
    standing = track_at(before)
    standing.update(before, 20 * MS)
    assert associate([moved], [track_at(before)], 100 * MS) == [(0, 0)]
    assert associate([moved], [standing], 120 * MS) == []


@pytest.mark.parametrize("hidden", [0.0, 0.1])
def test_tracks_updated_together_are_those_updated_one_by_one(hidden: float):
    rng = np.random.default_rng(7)
    together, alone = ([track_at(body(rng)) for _ in range(6)] for _ in range(2))
    for person, track in enumerate(alone):
        together[person].xy = track.xy
        together[person].has_moved = track.has_moved = person != 3
    for step in range(1, 6):
        persons = [body(rng, 2.0, 20.0) for _ in range(6)]
        for xy in persons:
            xy[rng.random(17) < hidden] = np.nan
        update_tracks(together, persons, step * 33 * MS)
        for track, xy in zip(alone, persons, strict=True):
            track.update(xy, step * 33 * MS)
        for first, second in zip(together, alone, strict=True):
            np.testing.assert_array_equal(first.xy, second.xy)
            np.testing.assert_array_equal(first.velocity, second.velocity)
            assert (first.size, first.last_ns, first.updates) == (second.size, second.last_ns, second.updates)
