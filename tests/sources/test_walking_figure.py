from functools import cache

import numpy as np
import pytest

from sources.walking_figure import VirtualCamera, Walk, figure
from stream.skeletons import skeleton_named

JOINTS, PARENTS = skeleton_named("h36m17").joints, skeleton_named("h36m17").parents
HZ = 50
WALKS = [
    Walk(),
    Walk(height_m=1.5, speed_m_s=1.4, stride_phase=0.3),
    Walk(height_m=1.9, radius_m=1.5, start_rad=2),
]


def joint(xyz: np.ndarray, name: str) -> np.ndarray:
    return xyz[..., JOINTS.index(name), :]


@cache
def lap(walk: Walk) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times (T,), joints (T, 17, 3), forward (T, 3) and left (T, 3) of one lap."""
    times = np.arange(0, walk.lap_m / walk.speed_m_s, 1 / HZ)
    path = [walk.ground(walk.speed_m_s * t) for t in times]
    xyz = np.stack([figure(t, walk) for t in times])
    return times, xyz, np.stack([forward for _, forward, _ in path]), np.stack([left for _, _, left in path])


def along(vectors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return (vectors * direction).sum(axis=-1)


@pytest.mark.parametrize("walk", WALKS)
def test_bones_keep_their_lengths(walk):
    _, xyz, _, _ = lap(walk)
    for index, parent in enumerate(PARENTS):
        if parent >= 0:
            length = np.linalg.norm(xyz[:, index] - xyz[:, parent], axis=1)
            assert np.ptp(length) < 0.001
            assert 0.04 < length[0] < 0.5


@pytest.mark.parametrize("walk", WALKS)
def test_left_joints_are_on_the_left(walk):
    _, xyz, _, left = lap(walk)
    for part, min_m in (("hip", 0.12), ("shoulder", 0.25), ("knee", 0.02), ("ankle", 0.02), ("wrist", 0.25)):
        across = along(joint(xyz, f"left_{part}") - joint(xyz, f"right_{part}"), left)
        assert across.min() > min_m


@pytest.mark.parametrize("walk", WALKS)
def test_a_person_faces_the_walking_direction(walk):
    _, xyz, forward, _ = lap(walk)
    moved = np.gradient(joint(xyz, "pelvis"), axis=0)
    assert (along(moved, forward) > 0.9 * np.linalg.norm(moved, axis=1)).all()
    assert (along(joint(xyz, "neck_nose") - joint(xyz, "thorax"), forward) > 0.05).all()


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_knees_bend_forward_and_elbows_backward(walk, side):
    _, xyz, forward, _ = lap(walk)
    middle = (joint(xyz, f"{side}_hip") + joint(xyz, f"{side}_ankle")) / 2
    assert (along(joint(xyz, f"{side}_knee") - middle, forward) > 0.02).all()
    middle = (joint(xyz, f"{side}_shoulder") + joint(xyz, f"{side}_wrist")) / 2
    assert (along(joint(xyz, f"{side}_elbow") - middle, forward) < 0).all()


@pytest.mark.parametrize("walk", WALKS)
def test_legs_alternate_and_each_arm_swings_with_the_other_side_s_leg(walk):
    _, xyz, forward, _ = lap(walk)
    legs = along(joint(xyz, "right_ankle") - joint(xyz, "left_ankle"), forward)
    arms = along(joint(xyz, "right_wrist") - joint(xyz, "left_wrist"), forward)
    assert np.corrcoef(legs, arms)[0, 1] < -0.8
    assert abs(legs.mean()) < 0.05
    passes = np.flatnonzero(np.diff(np.sign(legs)))
    assert len(passes) == 2 * round(walk.lap_m / walk.stride_m)


@pytest.mark.parametrize("walk", WALKS)
def test_feet_rest_on_the_floor_without_sliding_and_one_always_does(walk):
    _, xyz, _, _ = lap(walk)
    resting = []
    for side in ("left", "right"):
        ankle = joint(xyz, f"{side}_ankle")
        speed = np.linalg.norm(np.diff(ankle, axis=0), axis=1) * HZ
        still = speed < 1e-6
        assert 0.4 < still.mean() < 0.5
        np.testing.assert_allclose(ankle[1:][still, 2], 0.05 * walk.height_m, atol=1e-9)
        assert ankle[1:][speed > 1.0, 2].min() > 0.05 * walk.height_m + 0.001
        resting.append(still)
    # Both ankles move while one foot pushes off and the other touches down.
    assert (resting[0] | resting[1]).mean() > 0.8


@pytest.mark.parametrize("walk", WALKS)
def test_the_head_has_the_body_height_and_the_pelvis_rises_with_every_step(walk):
    _, xyz, _, _ = lap(walk)
    head = joint(xyz, "head_top")[:, 2]
    assert 0.90 * walk.height_m < head.min() < head.max() < walk.height_m
    pelvis = joint(xyz, "pelvis")[:, 2]
    tops = (pelvis[1:-1] > pelvis[:-2]) & (pelvis[1:-1] >= pelvis[2:])
    assert tops.sum() == pytest.approx(2 * round(walk.lap_m / walk.stride_m), abs=1)
    assert 0.02 < np.ptp(pelvis) < 0.06


@pytest.mark.parametrize("walk", WALKS)
def test_a_lap_ends_in_the_pose_of_its_start(walk):
    np.testing.assert_allclose(figure(walk.lap_m / walk.speed_m_s, walk), figure(0, walk), atol=1e-9)


@pytest.mark.parametrize("walk", WALKS)
def test_accelerations_are_those_of_a_person(walk):
    _, xyz, _, _ = lap(walk)
    acceleration = np.linalg.norm(np.diff(xyz, 2, axis=0), axis=2) * HZ**2
    assert acceleration.max() < 200  # m/s2; a touch-down in running has as much
    assert np.median(acceleration) < 10


def test_the_point_that_a_camera_looks_at_is_in_the_middle_of_its_image():
    camera = VirtualCamera()
    centre = camera.view(np.array(camera.looks_at_m))
    np.testing.assert_allclose(centre[:2], 0, atol=1e-9)
    assert centre[2] == pytest.approx(np.linalg.norm(np.subtract(camera.looks_at_m, camera.position_m)))
    np.testing.assert_allclose(camera.project(centre), [640, 360])


def test_camera_axes_are_right_down_forward():
    camera = VirtualCamera(position_m=(6, 0, 1), looks_at_m=(0, 0, 1))
    # Looking along -x with z up, +y is on the right.
    np.testing.assert_allclose(camera.view(np.array([0.0, 2, 1.5])), [2, -0.5, 6], atol=1e-9)
    np.testing.assert_allclose(camera.project(np.array([2, -0.5, 6])), [640 + 2000 / 6, 360 - 500 / 6])
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)


def test_a_point_behind_the_camera_has_no_pixel():
    assert np.isnan(VirtualCamera().project(np.array([0.0, 0, -1]))).all()
