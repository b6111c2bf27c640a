import numpy as np
import pytest

from stream.messages import Contact
from stream.scene.foot_contact import ANKLE_M, FootContact, HeightReference
from tests.stream.people import LEFT, RIGHT, WALK, Scene, walking

SCENE = Scene()
UP = tuple(SCENE.matrix[:, 2].tolist())
FLOOR, NO_FLOOR = HeightReference(UP, SCENE.lens.position_m[2]), HeightReference(UP, None)
HZ = 50


def seen(left: np.ndarray, right: np.ndarray) -> tuple:
    return tuple(tuple(SCENE.view(ankle).tolist()) for ankle in (left, right))


def felt(
    motion,
    seconds: float,
    over: HeightReference = FLOOR,
    feet: FootContact | None = None,
    start_s: float = 0.0,
) -> list:
    feet = feet or FootContact()
    ticks = (start_s + tick / HZ for tick in range(round(seconds * HZ)))
    return [feet.update(seen(*motion(at_s)), over, at_s) for at_s in ticks]


def on_spot(height_m: float = ANKLE_M):
    return lambda at_s: (np.array([0.0, 0.1, height_m]), np.array([0.0, -0.1, height_m]))


def walk(at_s: float) -> tuple:
    joints = walking(at_s)
    return joints[LEFT], joints[RIGHT]


@pytest.mark.parametrize("over", [FLOOR, NO_FLOOR])
def test_a_walkers_feet_rest_in_turns(over: HeightReference):
    found = felt(walk, 6.0, over)[10:]
    ankles = np.array([walk(tick / HZ) for tick in range(6 * HZ)])
    rests = ankles[10:, :, 2] < 0.051 * WALK.height_m  # the walker's ankles are that high while they rest
    told = np.array([(each.left, each.right) for each in found])
    # A foot that has begun to swing is slow at first, and seen to be quick half a tenth of a second later.
    assert (told & rests).sum() / told.sum() > 0.8
    assert (told & rests).sum() / rests.sum() > 0.88


def test_a_foot_that_is_not_seen_is_unknown_and_so_is_one_that_has_just_appeared():
    feet = FootContact()
    left, right = seen(*on_spot()(0.0))
    assert feet.update((left, None), FLOOR, 0.0) is None
    assert feet.update((left, None), FLOOR, 0.1) == Contact(left=True, right=None)
    assert feet.update((left, right), FLOOR, 0.2) == Contact(left=True, right=None)
    assert feet.update((left, right), FLOOR, 0.3) == Contact(left=True, right=True)
    assert feet.update((None, None), FLOOR, 0.4) is None


def test_nothing_is_known_after_a_gap_or_when_the_clock_goes_back():
    feet = FootContact()
    for at_s, known in ((0.0, False), (0.1, True), (1.0, False), (1.1, True), (0.9, False), (1.0, True)):
        contact = feet.update(seen(*on_spot()(0.0)), FLOOR, at_s)
        assert (contact == Contact(left=True, right=True)) is known


@pytest.mark.parametrize("over", [FLOOR, NO_FLOOR])
def test_both_feet_leave_the_floor_in_a_jump(over: HeightReference):
    feet = FootContact()
    assert felt(on_spot(), 1.0, over, feet)[-1] == Contact(left=True, right=True)

    def jump(at_s: float) -> tuple:
        air_s = at_s - 1.0
        return on_spot(ANKLE_M + max(0.0, 2.5 * air_s - 4.905 * air_s**2))(at_s)

    flight = felt(jump, 0.5, over, feet, 1.0)
    assert flight[8:17] == [Contact(left=False, right=False)] * 9
    assert felt(on_spot(), 0.5, over, feet, 1.52)[-1] == Contact(left=True, right=True)


def test_who_hangs_still_above_a_known_floor_does_not_stand_on_it():
    feet = FootContact()
    felt(on_spot(), 1.0, FLOOR, feet)
    assert felt(on_spot(0.6), 2.0, FLOOR, feet, 1.0)[-1] == Contact(left=False, right=False)
    assert felt(on_spot(0.6), 2.0)[-1] == Contact(left=False, right=False)


def test_a_raised_foot_is_told_from_the_one_that_stands():
    feet = on_spot()(0.0)[0], np.array([0.0, -0.1, ANKLE_M + 0.2])
    for over in (FLOOR, NO_FLOOR):
        assert felt(lambda at_s: feet, 1.0, over)[-1] == Contact(left=True, right=False)


@pytest.mark.parametrize("off_m", [-0.2, 0.2])
def test_someone_of_another_size_than_thought_stands_too(off_m: float):
    assert felt(on_spot(ANKLE_M + off_m), 1.0)[-1] == Contact(left=True, right=True)


def test_a_speed_between_two_limits_changes_nothing():
    def drift(speed_m_s: float):
        return lambda at_s: tuple(each + np.array([0, speed_m_s * at_s, 0]) for each in on_spot()(0.0))

    feet = FootContact()
    assert felt(drift(0.65), 0.5, FLOOR, feet)[-1] == Contact(left=False, right=False)
    feet = FootContact()
    felt(on_spot(), 0.5, FLOOR, feet)
    shifted = felt(lambda at_s: drift(0.65)(at_s - 0.5), 0.5, FLOOR, feet, 0.5)
    assert set(shifted) == {Contact(left=True, right=True)}
