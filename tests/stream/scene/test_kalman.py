import pytest

from stream.scene.kalman import ConstantVelocityKalman

UNREST = 0.3


@pytest.mark.parametrize("rate_hz", [10, 25, 100])
def test_a_steady_walk_is_followed_without_delay(rate_hz: int):
    place = ConstantVelocityKalman()
    for tick in range(3 * rate_hz + 1):
        found = place.update(6 - 1.2 * tick / rate_hz, 0.05, tick / rate_hz, UNREST)
    assert found == pytest.approx(2.4, abs=0.01)


def test_one_wild_distance_is_mostly_ignored():
    place = ConstantVelocityKalman()
    for tick in range(60):
        place.update(4.0, 0.05, tick / 30, UNREST)
    assert place.update(8.0, 0.05, 2.0, UNREST) == pytest.approx(4.0, abs=0.2)


def test_a_clock_that_stands_still_or_goes_back_breaks_nothing():
    place = ConstantVelocityKalman()
    for at_s in (1.0, 1.0, 0.5, 1.1, -3.0, 1.2):
        assert place.update(4.0, 0.05, at_s, UNREST) == pytest.approx(4.0)


def test_a_distance_after_a_long_gap_is_believed():
    place = ConstantVelocityKalman()
    for tick in range(60):
        place.update(4.0, 0.05, tick / 30, UNREST)
    assert place.update(8.0, 0.05, 12.0, UNREST) == pytest.approx(8.0, abs=0.2)
