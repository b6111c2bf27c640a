"""Index lists of the joints of motion-capture clips."""

from lifter.data import mocap_joints as joints


def test_parents_are_those_of_human36m_and_of_the_face() -> None:
    assert joints.PARENTS == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15, 9, 8)


def test_the_other_side_exchanges_left_and_right() -> None:
    expected = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13, 17, 18)
    assert expected == joints.OTHER_SIDE


def test_limbs_follow_from_the_names_of_joints() -> None:
    assert (joints.RIGHT_LEG, joints.LEFT_LEG) == ((1, 2, 3), (4, 5, 6))
    assert (joints.LEFT_ARM, joints.RIGHT_ARM) == ((11, 12, 13), (14, 15, 16))
    assert sorted(joints.UPPER_BODY) == list(range(7, 19))
