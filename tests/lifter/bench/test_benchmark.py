"""Benchmarks measure the figures they report, on the packaged recording; no test asserts a time."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.bench import tune
from lifter.bench.benchmark import bench
from lifter.bench.candidates import BenchPlan, comparison_runners, joint_difference_mm, without_cache
from lifter.bench.ceilings import memory_mib, peak_gflops
from lifter.bench.stages import hourglass_ms
from lifter.bench.timing import DeviceTimer, Elapsed, time_live_updates, time_windows
from lifter.bench.windows import moving_windows, recorded_windows
from lifter.engines import tuned
from lifter.machine import machine
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from stream.errors import ConfigError

CONFIG = {"width": 16, "depth": 2, "heads": 2}
SPEC = LifterSpec(name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), config=CONFIG)
SLOW_EAGER = {"eager": {1: [Elapsed(5.0, 5.0)]}, "onednn": {1: [Elapsed(3.0, 3.0)]}}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def plan(tmp_path):
    torch.manual_seed(0)
    weights.save(tmp_path / "tiny.safetensors", weights.build(SPEC), SPEC)
    path = str(tmp_path / "tiny.safetensors")
    return BenchPlan(model=path, device="cpu", threads=1, engine="eager").shortened()


def runner(**options):
    torch.manual_seed(0)
    return Runner(weights.build(SPEC), SPEC, device="cpu", threads=1, **options)


def only(monkeypatch, *installed):
    monkeypatch.setattr(
        tune.engines, "why_unavailable", lambda engine, *rest: "" if engine in installed else "no"
    )


class RecordingLifter:
    """A lifter that records its calls: the number of windows and of poses."""

    spec = SPEC

    def __init__(self):
        self.calls = []

    def lift(self, windows, last=None):
        self.calls.append((len(windows), last))


class FixedTimer(DeviceTimer):
    """Measures `wall_ms` for every call."""

    def __init__(self, wall_ms):
        super().__init__(torch.device("cpu"))
        self.wall_ms = wall_ms

    def measure(self, call):
        call()
        return Elapsed(self.wall_ms, self.wall_ms)


def test_a_benchmark_has_all_figures_and_counts_less_work_for_variants_that_skip_work(plan):
    figures = bench(plan)
    assert {row["variant"] for row in figures["rows"]} == {
        "own, eager float32", "own, onednn", "own, eager, as the paper writes it", "unpruned, eager",
    }  # fmt: skip
    assert {row["batch"] for row in figures["rows"]} == {1, 2}
    for row in figures["rows"]:
        assert row["gflops"] == pytest.approx(row["gflop"] * row["batch"] / row["busy_ms"] * 1e3, rel=0.1)
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert list(figures["stages_ms"]) == ["normalise", "network", "decode", "whole", "prune, recover"]
    assert [row["hop"] for row in figures["live"]] == [1, 5, 10]
    assert set(figures["live"][0]["update_ms_of_people"]) == {"1", "2"}
    assert figures["changed_mm"] == {"mean": 0.0, "max": 0.0}
    assert figures["threads"] == 1
    assert figures["machine"]["cpu"]
    assert {row["speed"] for row in figures["rows"] if row["variant"] == "unpruned, eager"} == {1.0}
    work = {row["variant"]: row["gflop"] for row in figures["rows"]}
    assert work["own, eager float32"] < work["own, eager, as the paper writes it"] < work["unpruned, eager"]


def test_the_time_of_pruning_and_recovering_is_without_the_head():
    class Ticks(DeviceTimer):
        """Advances by one millisecond at every reading."""

        readings = 0

        def now_ms(self):
            self.readings += 1
            return float(self.readings)

    lift = runner()
    keypoints = torch.rand(1, 27, 17, 2)
    with torch.inference_mode():
        own_ms = hourglass_ms(lift, lambda: lift.network(keypoints), Ticks(lift.device))
        # `prune` is called twice and `recover` once: 1 + 1 + 3 ms, of which the head takes 1.
        assert own_ms == 4.0
        expected = runner().network(keypoints)
        assert lift.network(keypoints).equal(expected)


def test_models_for_the_centre_frame_are_compared_too():
    spec = LifterSpec(
        name="tiny", arch="mhformer", frames=27, output="centre", config={**CONFIG, "hidden": 16},
        schedule=Schedule((13, 9), (0, 1), recoverer="centre"),
    )  # fmt: skip
    base = Runner(weights.build(spec), spec, device="cpu", threads=1)
    others = comparison_runners(BenchPlan(device="cpu", threads=1), base)
    assert {"unpruned, eager", "HoT, eager"} < set(others)
    shapes = {name: other.lift(recorded_windows(spec, 1)).shape for name, other in others.items()}
    assert set(shapes.values()) == {(1, 1, 17, 3)}


def test_tuning_stores_the_fastest_engine_for_auto(plan, monkeypatch):
    only(monkeypatch, "eager", "onednn")
    monkeypatch.setattr(
        tune,
        "time_live_updates",
        lambda runners, *rest: {"eager": {1: [Elapsed(5.0, 5.0)]}, "onednn": {1: [Elapsed(3.0, 3.0)]}},
    )
    result = tune.tune(plan)
    assert result["chosen"] == "onednn"
    assert result["engines"]["openvino"] == {"why_not": "no"}
    assert result["engines"]["eager"]["ms"] == 5.0
    monkeypatch.setattr(tuned, "default_engine", lambda *rest: pytest.fail("no engine was stored"))
    assert Runner(*weights.load(plan.model), "cpu", threads=1, engine="auto").engine == "onednn"


def test_an_engine_that_moves_joints_is_not_chosen(plan, monkeypatch):
    only(monkeypatch, "eager", "onednn")
    monkeypatch.setattr(
        tune,
        "time_live_updates",
        lambda runners, *rest: {
            name: {1: [Elapsed(ms, ms)]} for name, ms in (("eager", 5.0), ("onednn", 3.0))
        },
    )
    monkeypatch.setattr(
        tune, "joint_difference_mm", lambda runner, base: {"mean": 0.2 if runner.engine == "onednn" else 0.0}
    )
    assert tune.tune(plan)["chosen"] == "eager"


def test_all_runners_are_timed_and_slow_batches_are_skipped():
    a, b = RecordingLifter(), RecordingLifter()
    plan = BenchPlan(seconds=0.01, batches=(1, 8, 64))
    times = time_windows({"a": a, "b": b}, recorded_windows(SPEC, 64), plan, FixedTimer(5.0))
    assert {name: list(batches) for name, batches in times.items()} == {"a": [1, 8, 64], "b": [1, 8, 64]}
    slow = time_windows({"a": a}, recorded_windows(SPEC, 64), plan, FixedTimer(15.0))
    assert list(slow["a"]) == [1]  # 8 would take 120 ms, more than ten times 10 ms


def test_other_load_on_a_cpu_lengthens_the_wall_time_but_not_the_busy_time():
    torch.set_num_threads(1)
    assert Elapsed(30.0, 10.0).busy_ms(torch.device("cpu")) == 10.0
    assert Elapsed(30.0, 45.0).busy_ms(torch.device("cpu")) == 30.0
    assert Elapsed(30.0, 10.0).busy_ms(torch.device("cuda")) == 30.0


def test_live_updates_lift_only_the_newest_poses():
    lifter = RecordingLifter()
    times = time_live_updates({"": lifter}, 5, BenchPlan(seconds=0.01, batches=(1, 2)), FixedTimer(5.0))
    assert list(times[""]) == [1, 2]
    assert set(lifter.calls) == {(1, 5), (2, 5)}


def test_windows_move_on_by_a_hop_and_all_frames_differ():
    updates = [[window.keypoints for window in windows] for windows in moving_windows(SPEC, 2, 5, 200)]
    for before, after in pairwise(updates):
        assert (before[0][5:] == after[0][:-5]).all()
    frames = [keypoints[-1].tobytes() for people in updates for keypoints in people]
    assert len(set(frames)) == len(frames)


def test_a_runner_without_cache_gives_the_same_poses():
    lift = runner()
    assert lift.frame_cache is not None
    assert without_cache(lift).frame_cache is None
    windows = recorded_windows(SPEC, 2)
    np.testing.assert_allclose(without_cache(lift).lift(windows), lift.lift(windows), atol=1e-6)


def test_the_difference_of_two_runners_is_in_mm():
    base = runner()
    other = without_cache(base)
    other.lift = lambda windows: base.lift(windows) + np.float32([0.003, 0, 0.004])
    assert joint_difference_mm(other, base)["mean"] == pytest.approx(5.0, abs=1e-3)


def test_a_window_longer_than_the_recording_is_refused():
    with pytest.raises(ConfigError, match="the recording is shorter than a window of 999 frames"):
        recorded_windows(LifterSpec(name="long", frames=999), 1)


def test_a_plan_starts_with_batches_of_one_window():
    with pytest.raises(ConfigError, match="expected batches from 1"):
        BenchPlan(batches=(8,))


def test_peak_speed_and_memory_of_this_machine_are_measured():
    timer = DeviceTimer(torch.device("cpu"))
    speeds = peak_gflops(timer, quick=True)
    assert {"float32", "bfloat16"} <= set(speeds)
    assert min(speeds.values()) > 0
    memory = memory_mib(timer.device)
    assert memory["resident_peak"] > 50
    this_machine = machine()
    assert this_machine.cores > 0
    assert this_machine.gpu is None
    assert this_machine.versions["torch"] == torch.__version__
