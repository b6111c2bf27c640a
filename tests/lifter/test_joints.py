"""Index lists of the Human3.6M joints follow from the skeleton."""

from lifter import joints
from lifter.training.losses import JOINT_WEIGHTS


def test_bones_lead_from_parents_to_joints() -> None:
    assert joints.BONES == (
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8),
        (8, 9), (9, 10), (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
    )  # fmt: skip
    assert joints.BONE_PAIRS == ((3, 0), (4, 1), (5, 2), (10, 13), (11, 14), (12, 15))


def test_parts_of_the_body_are_those_of_human36m() -> None:
    assert joints.RIGHT_SIDE == (1, 2, 3, 14, 15, 16)
    assert joints.LOWER_BODY == (0, 1, 2, 3, 4, 5, 6)
    assert joints.LIMB_JOINTS == (1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16)
    assert joints.LIMBS == ((1, 2), (2, 3), (4, 5), (5, 6), (11, 12), (12, 13), (14, 15), (15, 16))


def test_joint_weights_are_those_of_mixste() -> None:
    assert JOINT_WEIGHTS == (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)
