from pathlib import Path

import numpy as np
import pytest

from sources.walking_figure import Walk, figure
from stream.config.load import Config, resolve
from stream.errors import ConfigError
from stream.messages import Header, JointOrigin, Pose, PoseFrame
from stream.postprocess.one_euro import OneEuro
from stream.postprocess.smoothing import Smoother
from stream.protocols import ComponentContext
from stream.runtime.pipeline import Pipeline
from stream.skeletons import skeleton_named
from tests.examples import plain
from tests.stream.people import processed

PARENTS = list(skeleton_named("h36m17").parents)[1:]
OFF = Smoother.Settings()
EURO = Smoother.Settings(one_euro=OneEuro.Settings())
BONES = Smoother.Settings(bones=True)
BOTH = Smoother.Settings(one_euro=OneEuro.Settings(), bones=True)
HZ = 50


def smoother(settings: Smoother.Settings) -> Smoother:
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


def times(seconds: float) -> np.ndarray:
    return np.arange(round(HZ * seconds)) / HZ


def smoothed(step: Smoother, t_s: float, *poses: Pose) -> list[np.ndarray]:
    """Each person's joints (17, 3) after the step."""
    return [person.xyz for person in processed(step, frame(t_s, *poses)).persons]


def run(settings: Smoother.Settings, times_s, seed: int = 0, **changes) -> np.ndarray:
    """Poses (T, 17, 3) of one walker after the step."""
    step = smoother(settings)
    return np.concatenate([smoothed(step, t_s, pose(walk(t_s, seed), **changes)) for t_s in times_s])


def jitter(poses: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(poses, n=2, axis=0), axis=2).mean())


def test_by_default_poses_are_unchanged():
    expected = np.stack([walk(t_s) for t_s in times(1)]).astype(np.float32)
    np.testing.assert_array_equal(run(OFF, times(1)), expected)


def test_people_do_not_share_a_filter():
    alone = [run(EURO, times(1), seed) for seed in (0, 1)]
    step = smoother(EURO)
    for index, t_s in enumerate(times(1)):
        together = smoothed(step, t_s, pose(walk(t_s, 0)), pose(walk(t_s, 1), "b0000"))
        np.testing.assert_array_equal(together, [alone[0][index], alone[1][index]])


def test_a_new_person_does_not_reset_the_filters_of_the_others():
    alone, step = run(EURO, times(1)), smoother(EURO)
    for index, t_s in enumerate(times(1)):
        others = [
            pose(walk(t_s, n), f"n{n:04d}", "new" if index == 10 * n else "ok")
            for n in range(1, 5)
            if index >= 10 * n
        ]
        first, *_ = smoothed(step, t_s, pose(walk(t_s)), *others)
        np.testing.assert_array_equal(first, alone[index])


@pytest.mark.parametrize("end", ["lost", "absent"])
def test_a_person_who_returns_starts_again(end: str):
    step = smoother(BOTH)
    for t_s in times(3):
        smoothed(step, t_s, pose(walk(t_s)))
    lost = pose(np.full((17, 3), np.nan), state="lost", origin=JointOrigin.ABSENT)
    last = (lost,) if end == "lost" else ()
    assert plain(processed(step, frame(3.0, *last)).persons) == plain(last)
    np.testing.assert_array_equal(smoothed(step, 3.02, pose(walk(9.0))), [walk(9.0).astype(np.float32)])


def test_a_new_person_starts_again_under_the_same_id():
    step = smoother(BOTH)
    for t_s in times(3):
        smoothed(step, t_s, pose(walk(t_s)))
    start = smoothed(step, 3.0, pose(walk(9.0), state="new"))
    np.testing.assert_array_equal(start, [walk(9.0).astype(np.float32)])


def test_the_delay_of_the_filter_is_reported():
    context = ComponentContext("cam0")
    step = Smoother(Smoother.Settings(one_euro=OneEuro.Settings(min_cutoff_hz=1.0, beta=0.0)), context)
    for t_s in (0.0, 0.02):
        smoothed(step, t_s, pose(np.zeros((17, 3))))
    assert context.health.report()["stages_ms"]["smooth"] == {
        "p50": 79.577,
        "p95": 151.197,
        "p99": 157.563,
        "n": 2,
    }


def test_bones_have_a_constant_length_after_the_filter_too():
    poses = run(BOTH, times(4))[-20:]
    lengths = np.linalg.norm(poses[:, 1:] - poses[:, PARENTS], axis=2)
    assert (lengths.std(axis=0) / lengths.mean(axis=0)).max() < 0.02


def test_bones_are_measured_on_interpolated_poses_too():
    interpolated = run(BONES, times(4), origin=JointOrigin.INTERPOLATED)
    np.testing.assert_array_equal(interpolated, run(BONES, times(4)))


def test_the_pipeline_smooths_the_poses_that_it_publishes(tiny_weights: Path):
    published = []
    for smoothing in ({}, {"one_euro": {}}):
        walker = {"type": "synthetic", "pace": "full", "frames": 60}
        lifter = {"weights": str(tiny_weights), "device": "cpu", "threads": 1, "blend": 0}
        sinks = {"out": {"type": "memory"}}
        pipeline = Pipeline(
            resolve({"sources": {"walk": walker}, "lifter": lifter, "smoothing": smoothing, "sinks": sinks})
        )
        with pipeline:
            assert pipeline.wait(60)
        frames = [m for m in pipeline.sink_threads["out"].sink.messages if isinstance(m, PoseFrame)]
        published.append(np.stack([frame.persons[0].xyz for frame in frames if frame.persons]))
    assert len(published[0]) == len(published[1]) == 60
    assert jitter(published[1]) < 0.7 * jitter(published[0])


def config(**smoothing) -> Config:
    sources, sinks = {"walk": {"type": "synthetic"}}, {"log": {"type": "console"}}
    return resolve({"sources": sources, "sinks": sinks, "smoothing": smoothing})


def test_the_config_turns_filter_and_bones_on_and_off():
    assert config().to_dict()["smoothing"] == {"one_euro": None, "bones": False}
    assert config(one_euro={}).smoothing == EURO
    assert config(one_euro={"min_cutoff_hz": 3}, bones=True).smoothing == Smoother.Settings(
        one_euro=OneEuro.Settings(min_cutoff_hz=3.0), bones=True
    )


@pytest.mark.parametrize(
    ("smoothing", "message"),
    [
        ({"one_euro": {"min_cutoff_hz": 0}}, "smoothing.*min_cutoff_hz and speed_cutoff_hz above 0, got 0"),
        ({"one_euro": {"rate_hz": 30}}, "smoothing.*rate_hz"),
        ({"bone": True}, "did you mean 'bones'"),
    ],
)
def test_a_config_with_wrong_settings_is_refused(smoothing: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        config(**smoothing)
