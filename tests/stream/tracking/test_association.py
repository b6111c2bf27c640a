import numpy as np
import pytest

from stream.tracking.association import _likeness, _surely, associate
from stream.tracking.track import Track

MS = 1_000_000


def person(rng: np.random.Generator, spread_px: float = 0.0, away_px: float = 0.0) -> np.ndarray:
    """(17, 2) px: the same body, its joints and its place off by so much."""
    body = np.random.default_rng(1).uniform(100, 300, (17, 2))
    return (body + rng.normal(0, spread_px, (17, 2)) + rng.normal(0, away_px, (1, 2))).astype(np.float32)


@pytest.mark.parametrize("hidden", [0.0, 0.5])
def test_fast_accept_never_accepts_a_pair_below_the_minimal_similarity(hidden: float):
    rng, sure, alike = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        track = Track(person(rng), 0, None, given=False)
        now = person(rng, rng.uniform(0, 40), rng.uniform(0, 80)) * np.float32(rng.uniform(0.8, 1.2))
        now[rng.random(17) < hidden] = np.nan
        now_ns = int(rng.integers(10, 1000)) * MS
        likely = _likeness([now], [track], now_ns)[0, 0] > 0.01
        assert likely or not _surely(now, track, now_ns)
        sure, alike = sure + _surely(now, track, now_ns), alike + likely
    assert 0.8 * alike < sure < 800  # it tells most of them apart


def test_a_detection_is_associated_when_near_and_not_when_far():
    rng = np.random.default_rng(0)
    track = Track(person(rng), 0, None, given=False)
    assert associate([person(rng, 2)], [track], 20 * MS) == [(0, 0)]
    assert associate([person(rng, 2) + np.float32(500)], [track], 20 * MS) == []


def test_a_detection_without_common_joints_is_not_associated():
    rng = np.random.default_rng(0)
    legs, arms = person(rng), person(rng)
    legs[8:], arms[:8] = np.nan, np.nan
    assert associate([legs], [Track(arms, 0, None, given=False)], 20 * MS) == []
