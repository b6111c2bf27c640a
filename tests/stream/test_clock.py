from random import Random

import pytest

from stream.clock import Backoff


def test_delays_double_up_to_the_longest():
    backoff = Backoff(0.5, 5.0, jitter=0.0)
    assert [backoff.next_delay_s() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_after_a_reset_delays_start_again():
    backoff = Backoff(0.5, 30.0, jitter=0.0)
    for _ in range(4):
        backoff.next_delay_s()
    backoff.reset()
    assert [backoff.next_delay_s() for _ in range(2)] == [0.5, 1.0]


@pytest.mark.parametrize("jitter", [0.2, 0.5])
def test_jitter_shortens_delays_at_random_by_at_most_its_share(jitter: float):
    backoff = Backoff(1.0, 1.0, jitter, Random(0))
    delays = [backoff.next_delay_s() for _ in range(1000)]
    assert 1 - jitter <= min(delays) < 1 - 0.9 * jitter
    assert 1 - 0.1 * jitter < max(delays) <= 1
