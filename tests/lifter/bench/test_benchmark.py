"""Benchmarks measure what they say, on the packaged recording; no time is asserted."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.bench import benchmark as benches
from lifter.bench import candidates as contest
from lifter.bench import tune
from lifter.bench.candidates import Plan, forgetful, in_turns, live, moving, recorded
from lifter.bench.ceilings import Clock, Took, memory_mib, peaks
from lifter.engines import tuned
from lifter.machine import machine
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from stream.errors import ConfigError

CONFIG = {"width": 16, "depth": 2, "heads": 2}
SPEC = LifterSpec(name="tiny", frames=27, schedule=Schedule((13, 9), (0, 1)), config=CONFIG)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def plan(tmp_path):
    torch.manual_seed(0)
    weights.save(tmp_path / "tiny.safetensors", weights.build(SPEC), SPEC)
    plan = Plan(model=str(tmp_path / "tiny.safetensors"), device="cpu", threads=1, engine="eager")
    return plan.shortened()


def runner(**options):
    torch.manual_seed(0)
    return Runner(weights.build(SPEC), SPEC, device="cpu", threads=1, **options)


def only(monkeypatch, *known):
    monkeypatch.setattr(
        tune.engines, "why_unavailable", lambda engine, *rest: "" if engine in known else "no"
    )


class Counted:
    """A lifter that notes what it was asked for and takes its time by a clock of its own."""

    spec = SPEC

    def __init__(self):
        self.asked = []

    def lift(self, windows, last=None):
        self.asked.append((len(windows), last))


class Still(Clock):
    """Every call takes as many ms as told, one after the other for good."""

    def __init__(self, *wall_ms):
        super().__init__(torch.device("cpu"))
        self.wall_ms = wall_ms

    def took(self, call):
        call()
        return Took(self.wall_ms[0], self.wall_ms[0])


def test_a_benchmark_says_all_it_was_asked_and_counts_less_work_for_what_leaves_work_out(plan):
    found = benches.bench(plan)
    assert {row["variant"] for row in found["rows"]} == {
        "own, eager float32", "own, onednn", "own, eager, as the paper writes it", "unpruned, eager",
    }  # fmt: skip
    assert {row["batch"] for row in found["rows"]} == {1, 2}
    for row in found["rows"]:
        assert row["gflops"] == pytest.approx(row["gflop"] * row["batch"] / row["busy_ms"] * 1e3, rel=0.1)
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert list(found["stages_ms"]) == ["normalise", "network", "decode", "whole", "prune, recover"]
    assert [row["hop"] for row in found["live"]] == [1, 5, 10]
    assert set(found["live"][0]["update_ms_of_people"]) == {"1", "2"}
    assert found["changed_mm"] == {"mean": 0.0, "max": 0.0}
    assert found["threads"] == 1
    assert found["machine"]["cpu"]
    assert {row["speed"] for row in found["rows"] if row["variant"] == "unpruned, eager"} == {1.0}
    work = {row["variant"]: row["gflop"] for row in found["rows"]}
    assert work["own, eager float32"] < work["own, eager, as the paper writes it"] < work["unpruned, eager"]


def test_the_share_of_pruning_and_recovering_leaves_the_head_out():
    class Ticks(Clock):
        """A millisecond goes by whenever somebody asks for the time."""

        asked = 0

        def now_ms(self):
            self.asked += 1
            return float(self.asked)

    lift = runner()
    keypoints = torch.rand(1, 27, 17, 2)
    with torch.inference_mode():
        own_ms = benches._hourglass_ms(lift, lambda: lift.network(keypoints), Ticks(lift.device))
        # Twice asked whether to prune, and recovered once: 1 + 1 + 3 ms, of which the head takes 1.
        assert own_ms == 4.0
        expected = runner().network(keypoints)
        assert lift.network(keypoints).equal(expected)


def test_centre_models_are_compared_too():
    spec = LifterSpec(
        name="tiny", arch="mhformer", frames=27, output="centre", config={**CONFIG, "hidden": 16},
        schedule=Schedule((13, 9), (0, 1), recoverer="centre"),
    )  # fmt: skip
    base = Runner(weights.build(spec), spec, device="cpu", threads=1)
    found = contest.others(Plan(device="cpu", threads=1), base)
    assert {"unpruned, eager", "HoT, eager"} < set(found)
    shapes = {name: other.lift(recorded(spec, 1)).shape for name, other in found.items()}
    assert set(shapes.values()) == {(1, 1, 17, 3)}


def test_tuning_remembers_the_fastest_engine_for_auto(plan, monkeypatch):
    only(monkeypatch, "eager", "onednn")
    monkeypatch.setattr(
        tune, "live", lambda runners, *rest: {"eager": {1: [Took(5.0, 5.0)]}, "onednn": {1: [Took(3.0, 3.0)]}}
    )
    found = tune.tune(plan)
    assert found["chosen"] == "onednn"
    assert found["engines"]["openvino"] == {"why_not": "no"}
    assert found["engines"]["eager"]["ms"] == 5.0
    monkeypatch.setattr(tuned, "default_engine", lambda *rest: pytest.fail("nothing was remembered"))
    assert Runner(*weights.load(plan.model), "cpu", threads=1, engine="auto").engine == "onednn"


def test_an_engine_that_moves_joints_is_not_chosen(plan, monkeypatch):
    only(monkeypatch, "eager", "onednn")
    monkeypatch.setattr(
        tune,
        "live",
        lambda runners, *rest: {name: {1: [Took(ms, ms)]} for name, ms in (("eager", 5.0), ("onednn", 3.0))},
    )
    monkeypatch.setattr(
        tune, "changed_mm", lambda runner, base: {"mean": 0.2 if runner.engine == "onednn" else 0.0}
    )
    assert tune.tune(plan)["chosen"] == "eager"


def test_runners_take_turns_and_slow_batches_are_left_out():
    a, b = Counted(), Counted()
    plan = Plan(seconds=0.01, batches=(1, 8, 64))
    times = in_turns({"a": a, "b": b}, recorded(SPEC, 64), plan, Still(5.0))
    assert {name: list(found) for name, found in times.items()} == {"a": [1, 8, 64], "b": [1, 8, 64]}
    slow = in_turns({"a": a}, recorded(SPEC, 64), plan, Still(15.0))
    assert list(slow["a"]) == [1]  # 8 would take 120 ms, more than ten times 10 ms


def test_others_on_the_machine_lengthen_the_wall_clock_alone():
    torch.set_num_threads(1)
    assert Took(30.0, 10.0).busy_ms(torch.device("cpu")) == 10.0
    assert Took(30.0, 45.0).busy_ms(torch.device("cpu")) == 30.0
    assert Took(30.0, 10.0).busy_ms(torch.device("cuda")) == 30.0


def test_live_asks_for_the_newest_poses_of_people_who_move_on():
    lifter = Counted()
    times = live({"": lifter}, 5, Plan(seconds=0.01, batches=(1, 2)), Still(5.0))
    assert list(times[""]) == [1, 2]
    assert set(lifter.asked) == {(1, 5), (2, 5)}


def test_people_move_on_by_a_hop_and_no_two_frames_are_alike():
    updates = [[window.keypoints for window in windows] for windows in moving(SPEC, 2, 5, 200)]
    for before, after in pairwise(updates):
        assert (before[0][5:] == after[0][:-5]).all()
    frames = [keypoints[-1].tobytes() for people in updates for keypoints in people]
    assert len(set(frames)) == len(frames)


def test_a_forgetful_runner_computes_every_window_from_scratch():
    lift = runner()
    assert lift.frame_cache is not None
    assert forgetful(lift).frame_cache is None
    windows = recorded(SPEC, 2)
    np.testing.assert_allclose(forgetful(lift).lift(windows), lift.lift(windows), atol=1e-6)


def test_a_changed_pose_is_measured_in_mm():
    base = runner()
    other = forgetful(base)
    other.lift = lambda windows: base.lift(windows) + np.float32([0.003, 0, 0.004])
    assert contest.changed_mm(other, base)["mean"] == pytest.approx(5.0, abs=1e-3)


def test_a_window_longer_than_the_recording_is_refused():
    with pytest.raises(ConfigError, match="the recording is shorter than a window of 999 frames"):
        recorded(LifterSpec(name="long", frames=999), 1)


def test_a_plan_begins_with_one_window():
    with pytest.raises(ConfigError, match="expected batches from 1"):
        Plan(batches=(8,))


def test_ceilings_and_memory_of_this_machine_are_found():
    clock = Clock(torch.device("cpu"))
    found = peaks(clock, quick=True)
    assert {"float32", "bfloat16"} <= set(found)
    assert min(found.values()) > 0
    memory = memory_mib(clock.device)
    assert memory["resident_peak"] > 50
    here = machine()
    assert here.cores > 0
    assert here.gpu is None
    assert here.versions["torch"] == torch.__version__
