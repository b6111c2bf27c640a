"""How many people a lifter keeps up with, in a simulation that can be worked out by hand."""

import numpy as np
import pytest

from benchmarks.schedule import Camera, Simulation
from lifter.bench.capacity import age_p99_ms, between, people


def test_one_person_waits_for_the_own_lift_alone():
    assert age_p99_ms(lambda windows: 7.0, 1, 1, 50.0) == pytest.approx(7.0)


def test_updates_that_come_during_a_lift_wait_for_it_and_go_together():
    # Two people, 10 ms apart, 12 ms per lift whatever its size: everybody after the first waits.
    ages = age_p99_ms(lambda windows: 12.0, 2, 1, 50.0)
    assert 12 < ages <= 24


def test_a_lifter_slower_than_the_frames_widens_the_hop_and_its_updates_age():
    # 50 ms per lift, updates due every 20 ms: the oldest of those taken together waited up to 40 ms.
    assert age_p99_ms(lambda windows: 50.0, 1, 1, 50.0) == pytest.approx(90)


def test_people_go_up_to_the_limit_and_no_further():
    def batch_ms(windows):
        return 2.0 * windows

    for hop in (1, 5, 10):
        most = people(batch_ms, hop, limit_ms=100)
        assert age_p99_ms(batch_ms, most, hop, 50.0) <= 100 < age_p99_ms(batch_ms, most + 1, hop, 50.0)
    assert people(batch_ms, 10) > people(batch_ms, 5) > people(batch_ms, 1) > 0


def test_a_lifter_too_slow_for_one_person_has_room_for_none():
    assert people(lambda windows: 150.0 * windows, 5) == 0


def test_a_batch_that_was_not_measured_lies_between_its_neighbours():
    batch_ms = between([1, 8, 64], [10.0, 45.0, 325.0])
    assert [batch_ms(size) for size in (1, 2, 8, 36, 64, 100)] == [10.0, 15.0, 45.0, 185.0, 325.0, 505.0]
    assert between([1], [10.0])(3) == 30.0


@pytest.mark.parametrize(("each_ms", "hop"), [(4.0, 5), (35.0, 5), (2.5, 1)])
def test_the_live_scheduler_keeps_up_with_as_many(each_ms, hop):
    number = people(lambda windows: each_ms * windows, hop)
    period_s = hop / 50
    cameras = {f"cam{i}": Camera(1, 50.0, phase_s=i / number * period_s) for i in range(number)}
    simulation = Simulation(each_s=each_ms / 1e3, hop=hop, frames=27, **cameras).run(2)
    ages_ms = []
    for sent in simulation.sent.values():
        while sent:
            ages_ms.append(sent[hop - 1 if len(sent) >= hop else -1].age_ms)  # the frame that made it due
            sent = sent[sent[0].frame.hop :]
    assert np.percentile(ages_ms, 99) <= 100
