import pytest

from stream.windows.due_frames import count_due, limit_to_hop, limit_to_window

POSITIONS = [0, 10, 20, 30, 40]


@pytest.mark.parametrize(("lookahead", "due"), [(0, 5), (10, 4), (15, 3), (40, 1), (50, 0)])
def test_a_frame_is_due_once_a_frame_lies_its_look_ahead_after_it(lookahead: int, due: int):
    assert count_due(POSITIONS, lookahead, full=False, ending=False) == due


def test_all_frames_are_due_when_no_later_frame_will_come():
    assert count_due(POSITIONS, 50, full=False, ending=True) == 5


def test_a_full_buffer_always_has_a_due_frame():
    assert count_due(POSITIONS, 50, full=True, ending=False) == 1
    assert count_due(POSITIONS, 20, full=True, ending=True) == 3


@pytest.mark.parametrize(
    ("due", "hop", "limited", "complete"),
    [(5, 20, 2, True), (1, 20, 1, False), (5, 41, 5, True), (5, 42, 5, False)],
)
def test_a_hop_is_complete_when_no_later_frame_can_belong_to_it(
    due: int, hop: int, limited: int, complete: bool
):
    assert limit_to_hop(POSITIONS, due, hop) == (limited, complete)


def test_a_window_sees_the_look_ahead_of_the_due_frames_and_no_more():
    assert limit_to_window(POSITIONS, due=2, lookahead=10, window_span=100) == (2, 3)


def test_due_frames_and_their_look_ahead_fit_into_one_window():
    assert limit_to_window(POSITIONS, due=5, lookahead=10, window_span=30) == (3, 4)
    assert limit_to_window(POSITIONS, due=5, lookahead=0, window_span=0) == (1, 1)
