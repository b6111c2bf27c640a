from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sources.walking_figure import Walk, figure
from stream.config.load import resolve
from stream.errors import ConfigError
from stream.messages import Header, JointOrigin, Pose, PoseFrame
from stream.postprocess.one_euro import OneEuro
from stream.postprocess.smoothing import Smoother
from stream.protocols import ComponentContext
from stream.runtime.pipeline import Pipeline
from stream.skeletons import skeleton_named
from tests.examples import plain
from tests.stream.people import finished, remembered

PARENTS = list(skeleton_named("h36m17").parents)[1:]
EURO = Smoother.Settings(one_euro=OneEuro.Settings())
BONES = Smoother.Settings(bones=True)
BOTH = Smoother.Settings(one_euro=OneEuro.Settings(), bones=True)


def steady(settings: Smoother.Settings) -> Smoother:
    return Smoother(settings, ComponentContext("cam0"))


def frame(t_s: float, *poses: Pose) -> PoseFrame:
    at_ns = round(1e9 * t_s)
    return PoseFrame(Header("cam0", 0, at_ns, at_ns), poses)


def pose(xyz: np.ndarray, id: str = "a0000", state="ok", origin=JointOrigin.OBSERVED) -> Pose:
    origins = np.full(17, origin, np.uint8)
    return Pose(id, state, xyz.astype(np.float32), np.ones(17, np.float32), origins)


def walk(t_s: float, seed: int = 0) -> np.ndarray:
    """A walker whose joints shake by 20 mm and whose pelvis is the origin."""
    xyz = figure(t_s, Walk(stride_phase=0.1 * seed))
    random = np.random.default_rng((seed, round(1000 * t_s)))
    xyz = xyz - xyz[0] + random.normal(0, 0.02, xyz.shape)
    xyz[0] = 0
    return xyz


def run(settings: Smoother.Settings, times_s, make=walk, id: str = "a0000") -> np.ndarray:
    step = steady(settings)
    return np.stack([finished(step, frame(t, pose(make(t), id))).persons[0].xyz for t in times_s])


def at(hz: float, seconds: float = 4.0) -> np.ndarray:
    return np.arange(round(hz * seconds)) / hz


def moving(metres_per_s: float):
    """All joints but the pelvis going sideways."""

    def make(t_s: float) -> np.ndarray:
        xyz = np.zeros((17, 3))
        xyz[1:, 0] = metres_per_s * t_s
        return xyz

    return make


def jitter(poses: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(poses, n=2, axis=0), axis=2).mean())


def bones(poses: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[:, 1:] - poses[:, PARENTS], axis=2)


def test_by_default_poses_are_left_as_they_are():
    times = at(50, 1)
    np.testing.assert_array_equal(
        run(Smoother.Settings(), times), np.stack([walk(t) for t in times]).astype(np.float32)
    )


def test_the_filter_takes_most_of_the_jitter_of_a_walker_and_brings_it_nearer_to_the_truth():
    times = at(50)
    raw, calm = run(Smoother.Settings(), times), run(EURO, times)
    truth = np.stack([figure(t, Walk()) - figure(t, Walk())[0] for t in times])
    assert jitter(calm) < 0.4 * jitter(raw)
    assert np.linalg.norm(calm - truth, axis=2).mean() < 0.8 * np.linalg.norm(raw - truth, axis=2).mean()


# What others got wrong


def test_two_people_do_not_share_one_filter():
    times = at(50, 1)
    alone = [run(EURO, times, lambda t, seed=seed: walk(t, seed)) for seed in (0, 1)]
    step = steady(EURO)
    for index, t in enumerate(times):
        persons = finished(step, frame(t, pose(walk(t, 0)), pose(walk(t, 1), "b0000"))).persons
        for person, expected in zip(persons, alone, strict=True):
            np.testing.assert_array_equal(person.xyz, expected[index])


def test_a_new_id_does_not_reset_the_filters_of_those_already_there():
    times = at(50, 1)
    alone = run(EURO, times)
    step = steady(EURO)
    for index, t in enumerate(times):
        others = [pose(walk(t, n), f"n{n:04d}", "new" if index == 10 * n else "ok") for n in range(1, 5)]
        here = [other for n, other in enumerate(others, 1) if index >= 10 * n]
        np.testing.assert_array_equal(
            finished(step, frame(t, pose(walk(t)), *here)).persons[0].xyz, alone[index]
        )


@pytest.mark.parametrize("hz", [10.0, 25.0, 30.0, 50.0, 120.0])
def test_the_delay_is_the_stated_one_at_every_frame_rate(hz: float):
    """A joint at a steady speed is followed by 1 / (2 pi cutoff) seconds, whether at 25 or at 30 Hz."""
    settings = Smoother.Settings(one_euro=OneEuro.Settings(min_cutoff_hz=1.0, beta=0.0))
    behind_m = 1.0 * at(hz)[-1] - run(settings, at(hz), moving(1.0))[-1, 5, 0]
    assert behind_m == pytest.approx(1 / (2 * np.pi), rel=1e-3)


def test_speed_counts_in_metres_per_second_not_in_millimetres():
    """At 1 m/s the cutoff is min_cutoff_hz + beta; taken in millimetres it would be a thousand betas."""
    settings = Smoother.Settings(one_euro=OneEuro.Settings(min_cutoff_hz=1.0, beta=3.0))
    behind_m = 1.0 * at(50)[-1] - run(settings, at(50), moving(1.0))[-1, 5, 0]
    assert behind_m == pytest.approx(1 / (2 * np.pi * 4.0), rel=1e-3)


def test_a_joint_that_is_absent_stays_absent_and_leaves_no_trace():
    times = at(50, 1)

    def holed(t_s: float) -> np.ndarray:
        xyz = walk(t_s)
        if 0.3 <= t_s < 0.5:
            xyz[5] = np.nan
        return xyz

    whole, came = run(EURO, times), run(EURO, times, holed)
    gone = (times >= 0.3) & (times < 0.5)
    assert np.isnan(came[gone, 5]).all()
    assert np.isfinite(came[~gone]).all()
    others = [joint for joint in range(17) if joint != 5]
    np.testing.assert_array_equal(came[:, others], whole[:, others])
    assert not (came[gone, 5] == 0).any()


# Gaps and ends


def test_a_lost_person_passes_unchanged_and_is_forgotten():
    step = steady(BOTH)
    for t in at(50, 3):
        finished(step, frame(t, pose(walk(t))))
    nothing = pose(np.full((17, 3), np.nan), state="lost", origin=JointOrigin.ABSENT)
    assert plain(finished(step, frame(3.0, nothing)).persons) == plain((nothing,))
    again = walk(9.0)
    came = finished(step, frame(3.02, pose(again))).persons[0].xyz
    np.testing.assert_array_equal(came, again.astype(np.float32))


def test_whoever_is_new_starts_anew():
    step = steady(BOTH)
    for t in at(50, 3):
        finished(step, frame(t, pose(walk(t))))
    again = walk(9.0)
    came = finished(step, frame(3.0, pose(again, state="new"))).persons[0].xyz
    np.testing.assert_array_equal(came, again.astype(np.float32))


def test_nothing_is_remembered_of_people_who_are_no_longer_there():
    step = steady(BOTH)
    for number in range(100):
        finished(step, frame(number / 50, pose(walk(0.0), f"n{number:04d}")))
    assert remembered(step) == ["n0099"]


def test_the_longer_the_gap_the_more_the_next_pose_counts():
    jump = np.zeros((17, 3))
    jump[1:] = 1.0
    settings = Smoother.Settings(one_euro=OneEuro.Settings(min_cutoff_hz=1.0, beta=0.0))
    came = []
    for gap_s in (0.02, 0.5, 60.0):
        step = steady(settings)
        finished(step, frame(0.0, pose(np.zeros((17, 3)))))
        came.append(finished(step, frame(gap_s, pose(jump))).persons[0].xyz[5, 0])
    lag_s = 1 / (2 * np.pi)
    assert came == pytest.approx([gap / (gap + lag_s) for gap in (0.02, 0.5, 60.0)])


def test_a_clock_that_goes_back_starts_the_filter_anew():
    step = steady(EURO)
    finished(step, frame(5.0, pose(walk(5.0))))
    came = finished(step, frame(1.0, pose(walk(1.0)))).persons[0].xyz
    np.testing.assert_array_equal(came, walk(1.0).astype(np.float32))


def test_the_delay_is_reported():
    context = ComponentContext("cam0")
    step = Smoother(Smoother.Settings(one_euro=OneEuro.Settings(min_cutoff_hz=1.0, beta=0.0)), context)
    for t in (0.0, 0.02):
        finished(step, frame(t, pose(np.zeros((17, 3)))))
    assert context.health.report()["stages_ms"]["smooth"] == {
        "p50": 79.577,
        "p95": 151.197,
        "p99": 157.563,
        "n": 2,
    }


# Bones


def test_bones_keep_their_length_and_their_direction():
    times = at(50)
    raw, held = run(Smoother.Settings(), times), run(BONES, times)
    last = times >= 3
    before, after = bones(raw[last]), bones(held[last])
    assert (
        (after.std(axis=0) / after.mean(axis=0)).max()
        < 0.02
        < (before.std(axis=0) / before.mean(axis=0)).min()
    )
    np.testing.assert_allclose(after[-1], np.median(bones(raw), axis=0), rtol=0.1)
    way = [each[-1, 1:] - each[-1, PARENTS] for each in (raw, held)]
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in way]
    np.testing.assert_allclose(unit[0], unit[1], atol=1e-5)


def test_bones_are_constant_after_the_filter_too():
    after = bones(run(BOTH, at(50))[-20:])
    assert (after.std(axis=0) / after.mean(axis=0)).max() < 0.02


def test_without_a_quarter_of_a_second_of_evidence_bones_are_left_alone():
    times = at(50, 0.2)
    np.testing.assert_array_equal(run(BONES, times), np.stack([walk(t) for t in times]).astype(np.float32))


def test_one_wild_pose_in_ten_does_not_change_a_bone():
    times = at(50)
    wild = run(BONES, times, lambda t: walk(t) * (3.0 if round(t * 50) % 50 == 0 else 1.0))
    np.testing.assert_allclose(bones(wild)[-1], bones(run(BONES, times))[-1], rtol=0.05)


def test_bones_that_were_not_observed_have_no_say():
    step, moved = steady(BONES), 0.0
    for t in at(50, 3):
        person = pose(walk(t))
        origin = person.origin.copy()
        origin[13] = JointOrigin.PREDICTED  # the left wrist
        xyz = person.xyz.copy()
        xyz[13] = xyz[12] + [0, 0, 0.9]
        person = replace(person, xyz=xyz, origin=origin)
        came = finished(step, frame(t, person)).persons[0]
        moved = max(moved, abs(bones(came.xyz[None])[0, 15] - bones(person.xyz[None])[0, 15]))
    np.testing.assert_allclose(came.xyz[13] - came.xyz[12], [0, 0, 0.9], atol=1e-5)
    assert moved > 1e-4  # the right one is held


def test_an_absent_joint_does_not_spread_along_the_bones():
    step = steady(BONES)
    for t in at(50, 3):
        xyz = walk(t)
        xyz[11] = np.nan  # the left shoulder
        came = finished(step, frame(t, pose(xyz))).persons[0].xyz
    assert np.isfinite(came).all(axis=1).tolist() == [joint != 11 for joint in range(17)]


# Settings and wiring


def test_the_daemon_steadies_what_it_publishes(tiny_weights: Path):
    came = []
    for steady_ in ({}, {"one_euro": {}}):
        walker = {"type": "synthetic", "pace": "full", "frames": 60}
        lifter = {"weights": str(tiny_weights), "device": "cpu", "threads": 1, "blend": 0}
        out = {"out": {"type": "memory"}}
        pipeline = Pipeline(
            resolve({"sources": {"walk": walker}, "lifter": lifter, "smoothing": steady_, "sinks": out})
        )
        with pipeline:
            assert pipeline.wait(60)
        frames = [m for m in pipeline.sink_threads["out"].sink.messages if isinstance(m, PoseFrame)]
        came.append(np.stack([frame.persons[0].xyz for frame in frames if frame.persons]))
    assert len(came[0]) == len(came[1]) == 60
    assert jitter(came[1]) < 0.7 * jitter(came[0])


def config(**steady_):
    return resolve(
        {
            "sources": {"walk": {"type": "synthetic"}},
            "sinks": {"log": {"type": "console"}},
            "smoothing": steady_,
        }
    )


def test_the_config_turns_each_on_and_off():
    assert config().to_dict()["smoothing"] == {"one_euro": None, "bones": False}
    assert config(one_euro={}).smoothing == EURO
    assert config(one_euro={"min_cutoff_hz": 3}, bones=True).smoothing == Smoother.Settings(
        one_euro=OneEuro.Settings(min_cutoff_hz=3.0), bones=True
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"one_euro": {"min_cutoff_hz": 0}}, "smoothing.*min_cutoff_hz and speed_cutoff_hz above 0, got 0"),
        ({"one_euro": {"beta": -1}}, "smoothing.*beta: expected 0 or more Hz per m/s, got -1"),
        ({"one_euro": {"rate_hz": 30}}, "smoothing.*rate_hz"),
        ({"bone": True}, "did you mean 'bones'"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        config(**changes)


def test_bones_are_learnt_on_a_grid_too():
    def on_grid(t_s: float) -> Pose:
        return pose(walk(t_s), origin=JointOrigin.INTERPOLATED)

    step = steady(BONES)
    held = np.stack([finished(step, frame(t, on_grid(t))).persons[0].xyz for t in at(50)])
    np.testing.assert_array_equal(held, run(BONES, at(50)))
