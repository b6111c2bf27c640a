"""Rigs in y-up axes: a person who faces the camera, or looks against a world's x, faces the viewer."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sinks.humanoid import RigFrame, SteadyRate, between, positions, rig_frame
from stream.messages import PoseFrame
from stream.rig import HUMANOID
from tests.rig_examples import about, dance, joints, pose_frames

# Columns: a camera's axes (x right, y down, z forward) in a world with z up, of a camera that looks along x.
WORLD_FROM_CAMERA = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def rig(frame: PoseFrame) -> RigFrame:
    (person,) = frame.persons
    found = rig_frame(frame, person)
    assert found is not None
    return found


def test_a_person_who_faces_the_camera_faces_the_viewer():
    found = rig(pose_frames([joints()])[0])
    assert np.abs(found.quat[0]) == pytest.approx((0, 0, 0, 1), abs=1e-6)
    assert found.hips == pytest.approx((0.1, 0.85, -3.0))  # the lower ankle on the floor


def test_a_person_who_looks_against_x_of_a_world_faces_the_viewer_at_the_true_height():
    xyz = joints() @ WORLD_FROM_CAMERA.T
    found = rig(pose_frames([xyz], root=(1.0, 2.0, 0.9), frame_id="world")[0])
    assert np.abs(found.quat[0]) == pytest.approx((0, 0, 0, 1), abs=1e-6)
    assert found.hips == pytest.approx((-2.0, 0.9, -1.0))
    heads = dict(zip(HUMANOID.bones, positions(found), strict=True))
    assert heads["LeftHand"][0] - heads["Hips"][0] > 0.5  # the person's left is at the viewer's right


@pytest.mark.parametrize("frame_id", ["cam0_optical_frame", "world"])
def test_camera_and_world_give_the_same_figure(frame_id: str):
    turned = joints(Hips=about(y=40), LeftLowerArm=about(y=-70), RightUpperLeg=about(x=-50))
    xyz = turned @ WORLD_FROM_CAMERA.T if frame_id == "world" else turned
    heads = positions(rig(pose_frames([xyz], frame_id=frame_id)[0]))
    wanted = (turned * (1, -1, -1))[list(HUMANOID.heads)]
    np.testing.assert_allclose(heads - heads[0], wanted - wanted[0], atol=1e-5)


def test_a_lost_person_and_one_without_rotations_have_no_rig():
    *_, lost = pose_frames([joints()], lost_after=True)
    assert rig_frame(lost, lost.persons[0]) is None


def test_rotations_between_two_frames_turn_by_their_share():
    first, second = (rig(pose_frames([joints(Hips=about(y=turn))])[0]) for turn in (0.0, 20.0))
    second = RigFrame(second.captured_ns + 100, -second.quat, second.rest, second.hips + 1)  # the same turn
    found = between(first, second, first.captured_ns + 25)
    assert np.degrees(Rotation.from_quat(found.quat[0]).as_rotvec()) == pytest.approx((0, 5, 0), abs=0.05)
    assert found.hips == pytest.approx(first.hips + 0.25)


def test_a_steady_rate_has_equal_steps_and_holds_the_rig_in_a_gap():
    frames = [rig(frame) for frame in pose_frames(dance(3))]
    kept = [frame for n, frame in enumerate(frames) if n % 3 and not 40 <= n < 120]  # uneven, a gap of 1.7 s
    rate = SteadyRate(50.0)
    out = [frame for one in kept for frame in rate.push(one)]
    assert {later.captured_ns - before.captured_ns for before, later in pairwise(out)} == {20_000_000}
    in_gap = [frame for frame in out if kept[25].captured_ns < frame.captured_ns < kept[26].captured_ns]
    assert len(in_gap) == 82
    assert all((frame.quat == kept[25].quat).all() for frame in in_gap)
    assert list(rate.push(kept[-1])) == []  # a frame that is not newer
