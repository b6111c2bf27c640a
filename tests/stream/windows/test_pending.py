from stream.messages import Header, State
from stream.windows.pending import PendingFrame, PersonInFrame, carry_events
from stream.windows.ring import Ring

RING = Ring(4, joints=17)


def pending(seq: int, **states: State) -> PendingFrame:
    persons = tuple([PersonInFrame(id, state, RING, seq) for id, state in states.items()])
    return PendingFrame(Header("cam0", seq, seq, seq), (640, 480), seq, 0.0, persons, seq, seq)


def test_a_new_event_is_carried_over_to_a_person_who_is_still_present():
    assert carry_events(pending(0, a="new"), pending(1, a="ok")) == pending(1, a="new")
    assert carry_events(pending(0, a="new"), pending(1, a="predicted")) == pending(1, a="new")


def test_a_lost_event_is_carried_over_after_the_people_present():
    carried = carry_events(pending(0, a="lost", b="ok"), pending(1, b="ok"))
    assert [(person.id, person.state) for person in carried.persons] == [("b", "ok"), ("a", "lost")]
    assert carried.header.seq == 1


def test_a_person_new_and_lost_within_dropped_frames_never_appears():
    assert carry_events(pending(0, a="new"), pending(1, a="lost")) == pending(1)


def test_a_frame_without_events_changes_nothing():
    following = pending(1, a="ok", b="predicted")
    assert carry_events(pending(0, a="ok", b="ok"), following) == following
    assert carry_events(pending(0), following) is following
