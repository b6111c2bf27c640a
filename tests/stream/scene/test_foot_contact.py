import numpy as np
import pytest

from stream.messages import Contact
from stream.scene.foot_contact import ANKLE_M, FootContact, HeightReference
from tests.stream.people import LEFT_ANKLE, RIGHT_ANKLE, WALK, Scene, walking

SCENE = Scene()
UP = tuple(SCENE.rotation[:, 2].tolist())
FLOOR, NO_FLOOR = HeightReference(UP, SCENE.camera.position_m[2]), HeightReference(UP, None)
BOTH, LEFT_ONLY, NONE = Contact(True, True), Contact(True, False), Contact(False, False)
HZ = 50


def in_camera(left: np.ndarray, right: np.ndarray) -> tuple:
    """World positions of the ankles in the camera's axes."""
    return tuple(tuple(SCENE.view(ankle).tolist()) for ankle in (left, right))


def contacts(
    motion,
    seconds: float,
    reference: HeightReference = FLOOR,
    feet: FootContact | None = None,
    start_s: float = 0.0,
) -> list[Contact | None]:
    """Contacts at HZ while the ankles move as motion(t_s), the left and the right one in the world."""
    feet = feet or FootContact()
    times_s = (start_s + tick / HZ for tick in range(round(seconds * HZ)))
    return [feet.update(in_camera(*motion(at_s)), reference, at_s) for at_s in times_s]


def on_spot(height_m: float = ANKLE_M):
    """Both feet at rest, at this height."""
    return lambda at_s: (np.array([0.0, 0.1, height_m]), np.array([0.0, -0.1, height_m]))


def walk(at_s: float) -> tuple:
    joints = walking(at_s)
    return joints[LEFT_ANKLE], joints[RIGHT_ANKLE]


@pytest.mark.parametrize("reference", [FLOOR, NO_FLOOR])
def test_the_feet_of_a_walker_rest_in_turns(reference: HeightReference):
    measured = np.array([(contact.left, contact.right) for contact in contacts(walk, 6.0, reference)[10:]])
    ankles = np.array([walk(tick / HZ) for tick in range(6 * HZ)])
    true = ankles[10:, :, 2] < 0.051 * WALK.height_m  # a resting ankle of the walker is that high
    # A foot that begins to swing is slow at first, and its speed is measured 0.05 s late.
    assert (measured & true).sum() / measured.sum() > 0.8
    assert (measured & true).sum() / true.sum() > 0.88


def test_the_contact_of_a_hidden_foot_and_of_one_that_just_appeared_is_unknown():
    feet = FootContact()
    left, right = in_camera(*on_spot()(0.0))
    assert feet.update((left, None), FLOOR, 0.0) is None
    assert feet.update((left, None), FLOOR, 0.1) == Contact(left=True, right=None)
    assert feet.update((left, right), FLOOR, 0.2) == Contact(left=True, right=None)
    assert feet.update((left, right), FLOOR, 0.3) == BOTH
    assert feet.update((None, None), FLOOR, 0.4) is None


def test_contacts_are_unknown_after_a_gap_and_after_the_clock_went_back():
    feet = FootContact()
    for at_s, known in ((0.0, False), (0.1, True), (1.0, False), (1.1, True), (0.9, False), (1.0, True)):
        contact = feet.update(in_camera(*on_spot()(0.0)), FLOOR, at_s)
        assert contact == (BOTH if known else None)


@pytest.mark.parametrize("reference", [FLOOR, NO_FLOOR])
def test_both_feet_leave_the_floor_in_a_jump(reference: HeightReference):
    feet = FootContact()
    assert contacts(on_spot(), 1.0, reference, feet)[-1] == BOTH

    def jump(at_s: float) -> tuple:
        air_s = at_s - 1.0
        return on_spot(ANKLE_M + max(0.0, 2.5 * air_s - 4.905 * air_s**2))(at_s)

    flight = contacts(jump, 0.5, reference, feet, 1.0)
    assert flight[8:17] == [NONE] * 9
    assert contacts(on_spot(), 0.5, reference, feet, 1.52)[-1] == BOTH


def test_feet_held_still_high_above_a_known_floor_have_no_contact():
    feet = FootContact()
    contacts(on_spot(), 1.0, FLOOR, feet)
    assert contacts(on_spot(0.6), 2.0, FLOOR, feet, 1.0)[-1] == NONE
    assert contacts(on_spot(0.6), 2.0)[-1] == NONE


def test_a_raised_foot_has_no_contact_while_the_other_stands():
    ankles = on_spot()(0.0)[0], np.array([0.0, -0.1, ANKLE_M + 0.2])
    for reference in (FLOOR, NO_FLOOR):
        assert contacts(lambda at_s: ankles, 1.0, reference)[-1] == LEFT_ONLY


@pytest.mark.parametrize("offset_m", [-0.2, 0.2])
def test_the_feet_of_a_person_of_another_size_than_assumed_have_contact_too(offset_m: float):
    assert contacts(on_spot(ANKLE_M + offset_m), 1.0)[-1] == BOTH


def test_a_speed_between_the_two_limits_changes_no_contact():
    def drift(speed_m_s: float):
        return lambda at_s: tuple(ankle + np.array([0, speed_m_s * at_s, 0]) for ankle in on_spot()(0.0))

    assert contacts(drift(0.65), 0.5)[-1] == NONE
    feet = FootContact()
    contacts(on_spot(), 0.5, FLOOR, feet)
    shifted = contacts(lambda at_s: drift(0.65)(at_s - 0.5), 0.5, FLOOR, feet, 0.5)
    assert set(shifted) == {BOTH}


def test_the_level_of_a_person_rises_slowly_and_falls_fast():
    """A foot put on a step of 15 cm counts as raised at first; the floor after the step as floor at once."""
    feet = FootContact()
    contacts(on_spot(), 2.0, FLOOR, feet)
    on_step = contacts(on_spot(ANKLE_M + 0.15), 6.0, FLOOR, feet, 2.0)
    assert on_step[10 : HZ + 1] == [NONE] * (HZ - 9)
    assert on_step[-1] == BOTH
    assert contacts(on_spot(), 1.0, FLOOR, feet, 8.0)[10:] == [BOTH] * (HZ - 10)
    assert contacts(on_spot(ANKLE_M + 0.15), 0.5, FLOOR, feet, 9.0)[-1] == NONE
