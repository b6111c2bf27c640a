import numpy as np
import pytest

from benchmarks.schedule import Camera, Simulation
from stream.runtime.scheduler import BatchCostModel


def in_order(simulation: Simulation) -> bool:
    return all([pose.seq for pose in sent] == list(range(len(sent))) for sent in simulation.sent.values())


def ages_ms(simulation: Simulation, name: str, since_s: float = 3.0) -> np.ndarray:
    return np.array([pose.age_ms for pose in simulation.sent[name] if pose.at_s > since_s])


def test_the_cost_model_separates_a_fixed_part_and_a_part_per_window():
    cost = BatchCostModel()
    for windows in (1, 4, 8, 2, 6):
        cost.observe(windows, 0.010 + 0.002 * windows)
    assert cost.window_s == pytest.approx(0.002)
    assert (
        cost.batch_size() == 12
    )  # 20 fit into 40 ms, but the fit is a guess beyond twice the largest recent batch


def test_batches_grow_only_while_they_save_time():
    gpu, cpu, heavy = BatchCostModel(), BatchCostModel(), BatchCostModel()
    for _ in range(10):
        gpu.observe(gpu.batch_size(), 0.004 + 0.0001 * gpu.batch_size())
        cpu.observe(cpu.batch_size(), 0.035 * cpu.batch_size())
        heavy.observe(heavy.batch_size(), 0.500 * heavy.batch_size())
    assert (gpu.batch_size(), cpu.batch_size(), heavy.batch_size()) == (32, 1, 1)


def test_a_fixed_part_longer_than_the_target_batch_gives_large_batches():
    cost = BatchCostModel()
    for windows in (1, 2, 4, 8, 16):
        cost.observe(windows, 0.100 + 0.001 * windows)
    assert cost.batch_size() == 32


def test_a_quick_lifter_gets_all_people_in_one_batch():
    simulation = Simulation(fixed_s=0.004, each_s=0.0001, a=Camera(20), b=Camera(3), c=Camera(1)).run(1)
    assert set(simulation.lifter.batches[5:]) == {24}
    assert {pose.frame.hop for sent in simulation.sent.values() for pose in sent[5:]} == {1}


def test_a_camera_with_many_people_does_not_delay_a_camera_with_a_single_person():
    simulation = Simulation(each_s=0.035, crowd=Camera(20), single=Camera(1)).run(6)
    assert in_order(simulation)
    assert ages_ms(simulation, "single").max() <= 110  # two windows of both cameras, and a frame
    assert max(simulation.hops("single")[3:]) <= 4
    assert max(simulation.hops("crowd")) <= 71  # 20 x 35 ms with half of the lifter time, at 50 Hz
    assert (simulation.dropped("single"), simulation.dropped("crowd")) == (0, 0)


def test_a_camera_that_needs_less_than_its_share_gets_it_at_once():
    simulation = Simulation(each_s=0.010, crowd=Camera(30), seldom=Camera(1, rate_hz=5)).run(6)
    assert ages_ms(simulation, "seldom").max() <= 100  # the running batch, and its own
    assert set(simulation.hops("seldom")) == {1}


def test_equal_cameras_get_equal_latency():
    cameras = {name: Camera(3, phase_s=0.003 * i) for i, name in enumerate("abcd")}
    simulation = Simulation(each_s=0.020, **cameras).run(6)
    medians = [float(np.median(ages_ms(simulation, name))) for name in "abcd"]
    assert max(medians) <= 1.2 * min(medians)
    assert in_order(simulation)


@pytest.mark.parametrize(("persons", "widest"), [(1, 2), (2, 4), (4, 7), (8, 14)])
def test_the_hop_is_steady_and_as_wide_as_the_load_requires(persons: int, widest: int):
    simulation = Simulation(each_s=0.033, a=Camera(persons)).run(5)
    hops = simulation.hops("a")[3:-1]
    assert max(hops) == widest  # persons x 33 ms at 50 Hz, rounded up
    assert max(hops) - min(hops) <= 1
    assert in_order(simulation)


def test_the_hop_shrinks_again_when_people_leave_and_no_frame_is_lost():
    simulation = Simulation(each_s=0.035, a=Camera(lambda s: 10 if 4 <= s < 8 else 1)).run(12)
    assert (simulation.dropped("a"), len(simulation.sent["a"])) == (0, simulation.brought["a"])
    hop_at = {pose.seq: pose.frame.hop for pose in simulation.sent["a"]}
    assert hop_at[150] == 2
    assert 17 <= hop_at[350] <= 18
    assert hop_at[460] == 2  # half a second after the predicted people are lost
    assert in_order(simulation)


def test_no_frame_is_lost_while_a_pass_takes_less_time_than_a_window_spans():
    # A pass over the crowd takes 4.5 s, with the windows of the other camera; 243 frames span 4.86 s.
    simulation = Simulation(each_s=0.5, crowd=Camera(8), single=Camera(1)).run(20)
    assert (simulation.dropped("crowd"), simulation.dropped("single")) == (0, 0)
    assert max(simulation.hops("crowd")) <= 243
    assert in_order(simulation)


def test_lifter_time_used_without_competition_is_not_charged_later():
    """The load is light at first, and a camera with more people gets more lifter time then."""

    def each_s(batch: int) -> float:
        return 0.0025 if simulation.clock.now_ns() < 3e9 else 0.015

    cameras = {"one": Camera(1, 25), "two": Camera(2, 25), "five": Camera(5, 25)}
    simulation = Simulation(each_s=each_s, **cameras)
    simulation.run(6)
    assert max(simulation.hops("five")) <= 10  # 6 in the steady state
    assert max(simulation.hops("one")) <= 5
    assert in_order(simulation)


def test_a_camera_that_must_lose_frames_does_not_make_other_cameras_lose_frames():
    simulation = Simulation(each_s=0.5, crowd=Camera(20), single=Camera(1)).run(25)
    assert simulation.dropped("crowd") > 0
    assert simulation.dropped("single") == 0
    assert ages_ms(simulation, "single", 10).max() <= 2000


def test_a_slow_first_batch_is_caught_up():
    simulation = Simulation(each_s=lambda batch: 0.5 if batch == 0 else 0.010, a=Camera(2)).run(3)
    hops = simulation.hops("a")
    assert hops[0] == 1
    assert hops[1] == 49  # all frames of the second that two windows took
    assert max(hops[4:]) <= 2
    assert in_order(simulation)


def test_a_file_is_lifted_in_the_same_passes_and_batches_at_any_lifter_speed():
    def run(each_s: float) -> Simulation:
        return Simulation(each_s=each_s, hop=5, frames=30, file=Camera(6, lossless=True)).run(2)

    def passes_and_batches(simulation: Simulation) -> tuple:
        return simulation.hops("file"), simulation.lifter.batches

    assert passes_and_batches(run(0.0001)) == passes_and_batches(run(0.001))
    assert set(run(0.001).lifter.batches) == {4, 2}


def test_a_file_and_a_camera_share_the_lifter_but_no_batch():
    simulation = Simulation(
        each_s=0.005, hop=5, frames=30, file=Camera(3, lossless=True, rate_hz=200), live=Camera(2)
    ).run(2)
    assert set(simulation.lifter.batches) == {3, 2}
    assert in_order(simulation)


def test_an_open_pass_can_go_on_later():
    simulation = Simulation(each_s=0.035, a=Camera(20))
    simulation.bring("a", 0.0)
    assert simulation.batches.lift_next_batch(simulation.buffers.values())
    assert simulation.batches.busy
    assert (simulation.lifter.batches, simulation.sent["a"]) == ([4], [])
    while simulation.batches.busy:
        simulation.batches.lift_next_batch(simulation.buffers.values())
    assert len(simulation.sent["a"]) == 1
