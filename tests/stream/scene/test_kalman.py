import pytest

from stream.scene.kalman import ConstantVelocityKalman

ACCEL_NOISE = 0.3


@pytest.mark.parametrize("rate_hz", [10, 25, 100])
def test_a_steady_walk_is_followed_without_delay(rate_hz: int):
    distance = ConstantVelocityKalman()
    for tick in range(3 * rate_hz + 1):
        filtered = distance.update(6 - 1.2 * tick / rate_hz, 0.05, tick / rate_hz, ACCEL_NOISE)
    assert filtered == pytest.approx(2.4, abs=0.01)


def test_one_outlier_is_mostly_ignored():
    distance = ConstantVelocityKalman()
    for tick in range(60):
        distance.update(4.0, 0.05, tick / 30, ACCEL_NOISE)
    assert distance.update(8.0, 0.05, 2.0, ACCEL_NOISE) == pytest.approx(4.0, abs=0.2)


def test_a_clock_that_stands_still_or_goes_back_keeps_the_value():
    distance = ConstantVelocityKalman()
    for at_s in (1.0, 1.0, 0.5, 1.1, -3.0, 1.2):
        assert distance.update(4.0, 0.05, at_s, ACCEL_NOISE) == pytest.approx(4.0)


def test_a_measurement_after_a_long_gap_is_trusted():
    distance = ConstantVelocityKalman()
    for tick in range(60):
        distance.update(4.0, 0.05, tick / 30, ACCEL_NOISE)
    assert distance.update(8.0, 0.05, 12.0, ACCEL_NOISE) == pytest.approx(8.0, abs=0.2)
