from collections.abc import Callable

import numpy as np
import pytest

from sources.walking_figure import Walk, figure
from stream.errors import ConfigError
from stream.postprocess.one_euro import OneEuro

JOINT = 5
DEFAULT = OneEuro.Settings()
FIXED_CUTOFF = OneEuro.Settings(min_cutoff_hz=1.0, beta=0.0)
FIXED_LAG_S = 1 / (2 * np.pi)


def times(hz: float, seconds: float = 4.0) -> np.ndarray:
    return np.arange(round(hz * seconds)) / hz


def walk(t_s: float) -> np.ndarray:
    """A walker whose joints shake by 20 mm and whose pelvis is the origin."""
    xyz = figure(t_s, Walk())
    xyz = xyz - xyz[0] + np.random.default_rng(round(1000 * t_s)).normal(0, 0.02, xyz.shape)
    xyz[0] = 0
    return xyz


def sideways(t_s: float) -> np.ndarray:
    """All joints but the pelvis move sideways at 1 m/s."""
    xyz = np.zeros((17, 3))
    xyz[1:, 0] = t_s
    return xyz


def filtered(
    settings: OneEuro.Settings, times_s: np.ndarray, motion: Callable[[float], np.ndarray] = walk
) -> np.ndarray:
    """The poses (T, 17, 3) of a motion after the filter."""
    euro = OneEuro(settings, 17)
    return np.stack([euro.update(motion(t_s).astype(np.float32), round(1e9 * t_s)) for t_s in times_s])


def jitter(poses: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(poses, n=2, axis=0), axis=2).mean())


def test_the_filter_removes_most_of_a_walker_s_jitter_and_reduces_the_error():
    at_s = times(50)
    raw, calm = np.stack([walk(t_s) for t_s in at_s]), filtered(DEFAULT, at_s)
    truth = np.stack([figure(t_s, Walk()) - figure(t_s, Walk())[0] for t_s in at_s])
    assert jitter(calm) < 0.4 * jitter(raw)
    assert np.linalg.norm(calm - truth, axis=2).mean() < 0.8 * np.linalg.norm(raw - truth, axis=2).mean()


@pytest.mark.parametrize("hz", [10.0, 25.0, 30.0, 50.0, 120.0])
def test_a_steady_joint_is_followed_with_the_stated_delay_at_every_frame_rate(hz: float):
    behind_m = times(hz)[-1] - filtered(FIXED_CUTOFF, times(hz), sideways)[-1, JOINT, 0]
    assert behind_m == pytest.approx(FIXED_LAG_S, rel=1e-3)


def test_the_cutoff_rises_with_the_speed_in_metres_per_second():
    """At 1 m/s the cutoff is min_cutoff_hz + beta; in millimetres it would be a thousand times beta."""
    settings = OneEuro.Settings(min_cutoff_hz=1.0, beta=3.0)
    behind_m = times(50)[-1] - filtered(settings, times(50), sideways)[-1, JOINT, 0]
    assert behind_m == pytest.approx(1 / (2 * np.pi * 4.0), rel=1e-3)


def test_an_absent_joint_stays_absent_and_leaves_the_others_unchanged():
    at_s = times(50, 1)
    gap = (at_s >= 0.3) & (at_s < 0.5)

    def with_gap(t_s: float) -> np.ndarray:
        xyz = walk(t_s)
        if 0.3 <= t_s < 0.5:
            xyz[JOINT] = np.nan
        return xyz

    complete, incomplete = filtered(DEFAULT, at_s), filtered(DEFAULT, at_s, with_gap)
    assert np.isnan(incomplete[gap, JOINT]).all()
    assert np.isfinite(incomplete[~gap]).all()
    np.testing.assert_array_equal(np.delete(incomplete, JOINT, axis=1), np.delete(complete, JOINT, axis=1))


@pytest.mark.parametrize("gap_s", [0.02, 0.5, 60.0])
def test_the_longer_the_gap_the_more_the_next_pose_counts(gap_s: float):
    moved = filtered(FIXED_CUTOFF, np.array([0.0, gap_s]), lambda t_s: np.full((17, 3), float(t_s > 0)))
    assert moved[1, JOINT, 0] == pytest.approx(gap_s / (gap_s + FIXED_LAG_S))


def test_a_clock_that_goes_back_restarts_the_filter():
    poses = filtered(DEFAULT, np.array([5.0, 1.0]))
    np.testing.assert_array_equal(poses[1], walk(1.0).astype(np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_cutoff_hz": 0}, "min_cutoff_hz and speed_cutoff_hz above 0, got 0 and 2.0"),
        ({"speed_cutoff_hz": float("nan")}, "min_cutoff_hz and speed_cutoff_hz above 0"),
        ({"beta": -1}, "beta: expected 0 or more Hz per m/s, got -1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        OneEuro.Settings(**settings)


def test_the_cutoff_is_proportional_to_the_speed():
    settings = OneEuro.Settings(min_cutoff_hz=1.0, beta=3.0)
    at_s = times(50)
    behind_m = 2 * at_s[-1] - filtered(settings, at_s, lambda t_s: 2 * sideways(t_s))[-1, JOINT, 0]
    assert behind_m == pytest.approx(2 / (2 * np.pi * 7.0), rel=1e-3)
