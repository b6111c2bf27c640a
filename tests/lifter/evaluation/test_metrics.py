"""Metrics of poses with errors known by construction."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lifter.evaluation import metrics

RANDOM = np.random.default_rng(3)
TRUTH = RANDOM.normal(size=(6, 17, 3))


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def test_a_shift_of_30_mm_is_an_error_of_30_mm() -> None:
    np.testing.assert_allclose(metrics.mpjpe(TRUTH + np.array([0.03, 0, 0]), TRUTH), 30.0)


def test_procrustes_ignores_rotation_scale_and_shift() -> None:
    np.testing.assert_allclose(metrics.p_mpjpe(1.3 * TRUTH @ _rotation(0.7) + 2.0, TRUTH), 0.0, atol=1e-9)


def test_procrustes_counts_a_mirror_image_as_an_error() -> None:
    assert (metrics.p_mpjpe(TRUTH * [-1, 1, 1], TRUTH) > 100).all()


@pytest.mark.parametrize("flip", [[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
def test_procrustes_uses_the_best_rotation_and_scale_and_no_reflection(flip: list[int]) -> None:
    """The best rotation by scipy, then the best scale for it."""
    predicted = 1.5 * TRUTH @ _rotation(0.4) * flip + RANDOM.normal(0, 0.05, TRUTH.shape)
    for pose, target, error in zip(predicted, TRUTH, metrics.p_mpjpe(predicted, TRUTH), strict=True):
        a, b = pose - pose.mean(axis=0), target - target.mean(axis=0)
        turned = Rotation.align_vectors(b, a)[0].apply(a)
        scale = (turned * b).sum() / np.square(a).sum()
        assert error == pytest.approx(1000 * np.linalg.norm(scale * turned - b, axis=-1).mean(), rel=1e-6)


def test_n_mpjpe_ignores_scale() -> None:
    np.testing.assert_allclose(metrics.n_mpjpe(0.8 * TRUTH, TRUTH), 0.0, atol=1e-9)


def test_velocity_and_acceleration_errors_of_a_drift() -> None:
    time = np.arange(6.0)[:, None, None] * [0.001, 0, 0]
    np.testing.assert_allclose(metrics.mpjve(TRUTH + time, TRUTH), 1.0)
    np.testing.assert_allclose(metrics.acceleration_error(TRUTH + time, TRUTH), 0.0, atol=1e-9)
    np.testing.assert_allclose(metrics.acceleration(np.zeros((6, 17, 3)) + time**2, TRUTH), 2e-3, atol=1e-9)


def test_pck_and_auc_of_joints_at_known_distances() -> None:
    predicted = TRUTH.copy()
    predicted[:, :5, 0] += 0.2
    predicted[:, 5:, 0] += 0.074
    np.testing.assert_allclose(metrics.pck(predicted, TRUTH), 100 * 12 / 17)
    # 0.074 m is nearer than the thresholds 75, 80, ... 150: 16 of 31.
    np.testing.assert_allclose(metrics.auc(predicted, TRUTH), 100 * 12 / 17 * 16 / 31)


def test_a_table_averages_frames_within_a_row_and_weighs_rows_alike() -> None:
    table = metrics.MetricTable({"mpjpe": metrics.mpjpe})
    table.add("walk", TRUTH + np.array([0.01, 0, 0]), TRUTH)
    table.add("walk", TRUTH[:3] + np.array([0.04, 0, 0]), TRUTH[:3])
    table.add("sit", TRUTH[:2] + np.array([0.06, 0, 0]), TRUTH[:2])
    rows = {row: values["mpjpe"] for row, values in table.rows().items()}
    assert rows == pytest.approx({"walk": 20.0, "sit": 60.0, "mean of rows": 40.0})
    assert "mean of rows" in table.text()
