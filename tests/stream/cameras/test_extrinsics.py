import numpy as np
import pytest

from stream.cameras.extrinsics import CameraPose
from stream.errors import ConfigError

HALF = np.sqrt(0.5)


@pytest.mark.parametrize(
    ("rpy_deg", "right", "down", "forward"),
    [
        ((0, 0, 0), (0, -1, 0), (0, 0, -1), (1, 0, 0)),
        ((0, 0, 90), (1, 0, 0), (0, 0, -1), (0, 1, 0)),
        ((0, 90, 0), (0, -1, 0), (-1, 0, 0), (0, 0, -1)),
        ((90, 0, 0), (0, 0, -1), (0, 1, 0), (1, 0, 0)),
        ((0, 45, 0), (0, -1, 0), (-HALF, 0, -HALF), (HALF, 0, -HALF)),
    ],
)
def test_roll_pitch_and_yaw_rotate_a_camera_as_they_rotate_a_robot(rpy_deg, right, down, forward):
    matrix = CameraPose(position_m=(0, 0, 1), rpy_deg=rpy_deg).matrix()
    np.testing.assert_allclose(matrix.T, [right, down, forward], atol=1e-12)


def test_a_camera_that_looks_at_a_point_is_level():
    matrix = CameraPose(position_m=(1, 0, 2), looks_at_m=(1, 3, 2)).matrix()
    np.testing.assert_allclose(matrix.T, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-12)


def test_roll_turns_the_camera_about_its_line_of_sight():
    matrix = CameraPose(position_m=(1, 0, 2), looks_at_m=(1, 3, 2), roll_deg=90).matrix()
    np.testing.assert_allclose(matrix.T, [[0, 0, -1], [-1, 0, 0], [0, 1, 0]], atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "expected rpy_deg, or looks_at_m.*got neither"),
        ({"rpy_deg": (0, 0, 0), "looks_at_m": (1, 0, 0)}, "got rpy_deg and looks_at_m"),
        ({"rpy_deg": (0, 0, 0), "roll_deg": 3}, "got rpy_deg and roll_deg"),
        ({"rpy_deg": (0, float("nan"), 0)}, "expected finite metres and degrees"),
        ({"looks_at_m": (0, 0, 5)}, "right above or below the camera; give rpy_deg"),
    ],
)
def test_an_incomplete_or_contradictory_pose_is_refused(settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        CameraPose(position_m=(0, 0, 1), **settings)
