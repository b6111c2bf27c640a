import numpy as np
import pytest

from stream.camera_info import Extrinsics
from stream.cameras.extrinsics import CameraPose
from stream.errors import ConfigError
from stream.rotations import quaternion
from tests.stream.people import Scene

HALF = np.sqrt(0.5)


def extrinsics(pose: CameraPose) -> Extrinsics:
    return Extrinsics("world", "cam0_optical_frame", pose.position_m, quaternion(pose.matrix()), "given")


def test_a_quaternion_is_the_same_turn():
    random = np.random.default_rng(0)
    for _ in range(50):
        matrix = np.linalg.qr(random.normal(size=(3, 3)))[0]
        matrix *= np.sign(np.linalg.det(matrix))
        place = Extrinsics("world", "c", (0, 0, 0), quaternion(matrix), "given")
        assert place.matrix() == pytest.approx(matrix)


@pytest.mark.parametrize(
    ("rpy_deg", "right", "down", "ahead"),
    [
        ((0, 0, 0), (0, -1, 0), (0, 0, -1), (1, 0, 0)),
        ((0, 0, 90), (1, 0, 0), (0, 0, -1), (0, 1, 0)),
        ((0, 90, 0), (0, -1, 0), (-1, 0, 0), (0, 0, -1)),
        ((90, 0, 0), (0, 0, -1), (0, 1, 0), (1, 0, 0)),
        ((0, 45, 0), (0, -1, 0), (-HALF, 0, -HALF), (HALF, 0, -HALF)),
    ],
)
def test_roll_pitch_and_yaw_turn_a_camera_as_they_turn_a_robot(rpy_deg, right, down, ahead):
    matrix = CameraPose(position_m=(0, 0, 1), rpy_deg=rpy_deg).matrix()
    np.testing.assert_allclose(matrix.T, [right, down, ahead], atol=1e-12)


def test_a_camera_looks_at_what_it_looks_at():
    scene = Scene(roll_rad=0.3)
    pose = CameraPose(
        position_m=scene.lens.position_m, looks_at_m=scene.lens.looks_at_m, roll_deg=np.degrees(0.3)
    )
    place, points = extrinsics(pose), np.random.default_rng(0).normal(size=(9, 3))
    assert place.to_world(scene.view(points)) == pytest.approx(points)
    assert place.to_camera(points) == pytest.approx(scene.view(points))
    assert place.to_camera(np.array(scene.lens.looks_at_m))[:2] == pytest.approx([0, 0])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "expected rpy_deg, or looks_at_m"),
        ({"rpy_deg": (0, 0, 0), "looks_at_m": (1, 0, 0)}, "expected rpy_deg, or looks_at_m"),
        ({"rpy_deg": (0, 0, 0), "roll_deg": 3}, "expected rpy_deg, or looks_at_m"),
        ({"rpy_deg": (0, float("nan"), 0)}, "expected finite metres and degrees"),
        ({"looks_at_m": (0, 0, 5)}, "right above or below the camera; give rpy_deg"),
    ],
)
def test_a_pose_that_is_none_is_refused(wrong: dict, says: str):
    with pytest.raises(ConfigError, match=says):
        CameraPose(position_m=(0, 0, 1), **wrong)
