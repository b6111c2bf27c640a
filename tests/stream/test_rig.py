"""The humanoid rig and its forward kinematics."""

import numpy as np
import pytest

from stream.rig import HUMANOID
from stream.rotations import turns
from stream.skeletons import SKELETONS


def test_parents_come_before_their_children():
    assert HUMANOID.parents[0] == -1
    assert all(0 <= parent < bone for bone, parent in enumerate(HUMANOID.parents) if bone)


def test_every_joint_but_the_top_of_the_head_is_the_head_of_a_bone():
    assert set(HUMANOID.heads) == set(range(17)) - {10}
    assert HUMANOID.targets[HUMANOID.index["Head"]] == 10


def test_left_bones_start_at_left_joints():
    joints = SKELETONS["h36m17"].joints
    for bone, head in zip(HUMANOID.bones, HUMANOID.heads, strict=True):
        for side in ("Left", "Right"):
            if bone.startswith(side) and not bone.endswith("Shoulder"):
                assert joints[head].startswith(side.lower()), bone


def test_rest_directions_are_a_t_pose_with_x_to_the_left():
    direction = dict(zip(HUMANOID.bones, HUMANOID.directions.round(3).tolist(), strict=True))
    assert direction["LeftUpperArm"] == [1, 0, 0]
    assert direction["RightUpperArm"] == [-1, 0, 0]
    assert direction["LeftUpperLeg"] == direction["RightLowerLeg"] == [0, -1, 0]
    assert np.linalg.norm(HUMANOID.directions, axis=1) == pytest.approx(1)


def test_forward_kinematics_turns_what_hangs_below_a_bone():
    local = np.broadcast_to(np.eye(3), (19, 3, 3)).copy()
    local[HUMANOID.index["LeftUpperArm"]] = turns(np.array([0.0, 0, 1]), np.array(np.pi / 2))
    rest = 0.25 * HUMANOID.directions
    heads = HUMANOID.forward(local, rest, np.array([1.0, 2, 3]))
    upper, lower, hand = (heads[HUMANOID.index[f"Left{name}"]] for name in ("UpperArm", "LowerArm", "Hand"))
    np.testing.assert_allclose(heads[0], [1, 2, 3])
    np.testing.assert_allclose(lower - upper, [0, 0.25, 0], atol=1e-12)  # up, where the arm was raised to
    np.testing.assert_allclose(hand - lower, [0, 0.25, 0], atol=1e-12)
