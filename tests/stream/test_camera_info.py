import numpy as np
import pytest

from stream.camera_info import Extrinsics
from stream.cameras.extrinsics import CameraPose
from stream.rotations import quaternion_from_matrix
from tests.stream.people import Scene


def test_extrinsics_move_points_to_the_world_and_back():
    scene = Scene(roll_rad=0.3)
    pose = CameraPose(
        position_m=scene.camera.position_m, looks_at_m=scene.camera.looks_at_m, roll_deg=np.degrees(0.3)
    )
    quat = quaternion_from_matrix(pose.matrix())
    extrinsics = Extrinsics("world", "cam0_optical_frame", pose.position_m, quat, "given")
    points = np.random.default_rng(0).normal(size=(9, 3))
    assert extrinsics.to_world(scene.view(points)) == pytest.approx(points)
    assert extrinsics.to_camera(points) == pytest.approx(scene.view(points))
    assert extrinsics.to_camera(np.array(scene.camera.looks_at_m))[:2] == pytest.approx([0, 0])
