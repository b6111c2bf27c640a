import numpy as np
import pytest

from sources.walking_figure import VirtualCamera, Walk, figure
from stream.scene.translation import solve_translation

CAMERA = VirtualCamera()
JOINTS = CAMERA.view(figure(0.0, Walk()))  # (17, 3) metres in camera axes
XYZ = JOINTS - JOINTS[0]
RAYS = JOINTS[:, :2] / JOINTS[:, 2:]
OUTLIERS = [3, 13, 16]


def solve(rays: np.ndarray, visible: np.ndarray | None = None) -> tuple[np.ndarray, float, float]:
    """Translation (3,) of one person, and the standard deviations of depth and across."""
    visible = np.ones(17, bool) if visible is None else visible
    solution = solve_translation(XYZ[None], rays[None], np.ones((1, 17), np.float32), visible[None])
    translations, depth_sds, lateral_sds = solution
    return translations[0], float(depth_sds[0]), float(lateral_sds[0])


def with_outliers() -> np.ndarray:
    rays = RAYS.copy()
    rays[OUTLIERS] += [(0.3, -0.2), (-0.25, 0.25), (0.2, 0.3)]
    return rays


def test_exact_rays_give_the_exact_translation_and_depth_less_certain_than_the_rest():
    translation, depth_sd, lateral_sd = solve(RAYS)
    assert translation == pytest.approx(JOINTS[0])
    assert 0 < lateral_sd < depth_sd < 0.5


def test_hidden_joints_do_not_count():
    translation, _, _ = solve(with_outliers(), ~np.isin(np.arange(17), OUTLIERS))
    assert translation == pytest.approx(JOINTS[0])


def test_plain_least_squares_is_moved_ten_times_as_far_by_the_same_outliers():
    rays = with_outliers()
    rows = np.zeros((17, 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1
    rows[:, :, 2] = -rays
    plain = np.linalg.lstsq(rows.reshape(-1, 3), (rays * XYZ[:, 2:] - XYZ[:, :2]).ravel(), rcond=None)[0]
    robust, _, _ = solve(rays)
    assert np.linalg.norm(plain - JOINTS[0]) > 10 * np.linalg.norm(robust - JOINTS[0])


def test_joints_on_one_ray_determine_no_translation():
    translation, depth_sd, _ = solve(np.full((17, 2), 0.1))
    assert np.isnan(translation).all()
    assert np.isnan(depth_sd)
