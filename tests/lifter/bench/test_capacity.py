"""The number of people a lifter keeps up with, in simulations that are easy to work out by hand."""

import numpy as np
import pytest

from benchmarks.schedule import Camera, Simulation
from lifter.bench.capacity import age_p99_ms, batch_time_model, max_people


def test_a_single_person_waits_for_one_lift():
    assert age_p99_ms(lambda windows: 7.0, 1, 1, 50.0) == pytest.approx(7.0)


def test_updates_due_during_a_lift_wait_for_it_and_are_lifted_together():
    # Two people, 10 ms apart, and 12 ms per lift of any size: all updates after the first wait.
    ages = age_p99_ms(lambda windows: 12.0, 2, 1, 50.0)
    assert 12 < ages <= 24


def test_a_lifter_slower_than_the_frames_merges_updates_and_their_age_grows():
    # 50 ms per lift, updates due every 20 ms: the oldest update of a merged window waits up to 40 ms.
    assert age_p99_ms(lambda windows: 50.0, 1, 1, 50.0) == pytest.approx(90)


def test_one_person_more_exceeds_the_limit():
    def batch_ms(windows):
        return 2.0 * windows

    for hop in (1, 5, 10):
        people = max_people(batch_ms, hop, limit_ms=100)
        assert age_p99_ms(batch_ms, people, hop, 50.0) <= 100 < age_p99_ms(batch_ms, people + 1, hop, 50.0)
    assert max_people(batch_ms, 10) > max_people(batch_ms, 5) > max_people(batch_ms, 1) > 0


def test_a_lifter_too_slow_for_one_person_keeps_up_with_none():
    assert max_people(lambda windows: 150.0 * windows, 5) == 0


def test_the_time_of_a_batch_is_interpolated_between_measured_sizes():
    batch_ms = batch_time_model([1, 8, 64], [10.0, 45.0, 325.0])
    assert [batch_ms(size) for size in (1, 2, 8, 36, 64, 100)] == [10.0, 15.0, 45.0, 185.0, 325.0, 505.0]
    assert batch_time_model([1], [10.0])(3) == 30.0


@pytest.mark.parametrize(("each_ms", "hop"), [(4.0, 5), (35.0, 5), (2.5, 1)])
def test_the_live_scheduler_keeps_up_with_as_many_people(each_ms, hop):
    number = max_people(lambda windows: each_ms * windows, hop)
    period_s = hop / 50
    cameras = {f"cam{i}": Camera(1, 50.0, phase_s=i / number * period_s) for i in range(number)}
    simulation = Simulation(each_s=each_ms / 1e3, hop=hop, frames=27, **cameras).run(2)
    ages_ms = []
    for sent in simulation.sent.values():
        while sent:
            ages_ms.append(sent[hop - 1 if len(sent) >= hop else -1].age_ms)  # the last frame of the hop
            sent = sent[sent[0].frame.hop :]
    assert np.percentile(ages_ms, 99) <= 100
