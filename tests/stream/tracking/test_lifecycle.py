import dataclasses

import numpy as np
import pytest

from stream.messages import Header, KeypointFrame, Keypoints, TrackedPerson
from stream.tracking.lifecycle import Lifecycle, max_gap_s
from stream.tracking.tracker import Tracker

SECOND = 1_000_000_000


def detection(id: str | None = None) -> Keypoints:
    joints = np.random.default_rng(5).uniform(100, 300, (17, 2)).astype(np.float32)
    return Keypoints(joints, np.ones(17, np.float32), id)


def frame(at_s: float, *ids: str, delay_s: float = 0.0) -> KeypointFrame:
    """A frame captured at `at_s` with these people, which arrives `delay_s` later."""
    at_ns = round(at_s * SECOND)
    detected_ns = at_ns + round(delay_s * SECOND)
    persons = tuple([detection(id) for id in ids])
    return KeypointFrame(Header("cam0", 0, at_ns, at_ns), (640, 480), "h36m17", persons, detected_ns)


def states(people: tuple[TrackedPerson, ...]) -> dict[str, str]:
    return {person.id: person.state for person in people}


def test_a_person_is_new_then_ok_then_predicted_then_lost_then_absent():
    lifecycle = Lifecycle(Tracker(), predict_s=0.25)
    people = [lifecycle.update(frame(step / 10, *(["a"] if step < 2 else []))) for step in range(6)]
    assert [states(present) for present in people] == [
        {"a": "new"},
        {"a": "ok"},
        {"a": "predicted"},
        {"a": "predicted"},
        {"a": "lost"},
        {},
    ]


def test_detected_people_have_their_keypoints_and_missing_people_none():
    lifecycle, first = Lifecycle(Tracker(), predict_s=1.0), frame(0, "a", "b")
    assert [person.keypoints for person in lifecycle.update(first)] == list(first.persons)
    second = frame(0.1, "b")
    b, a = lifecycle.update(second)
    assert (b.id, b.keypoints) == ("b", second.persons[0])
    assert a == TrackedPerson("a", "predicted")


def test_a_window_starts_with_a_new_person_after_a_long_gap_and_with_another_image_size():
    lifecycle = Lifecycle(Tracker(), predict_s=0.25)
    resized = dataclasses.replace(frame(2.1, "a"), size_wh=(1280, 960))
    frames = frame(0, "a"), frame(0.1, "a"), frame(2.0, "a"), resized
    people = [lifecycle.update(keypoints)[0] for keypoints in frames]
    assert [(person.state, person.starts_window) for person in people] == [
        ("new", True),
        ("ok", False),
        ("new", True),
        ("ok", True),
    ]


def test_another_image_size_loses_missing_people_at_once():
    lifecycle = Lifecycle(Tracker(), predict_s=10.0)
    lifecycle.update(frame(0, "a", "b"))
    resized = dataclasses.replace(frame(0.1, "a"), size_wh=(1280, 960))
    assert states(lifecycle.update(resized)) == {"a": "ok", "b": "lost"}


def test_silence_loses_people_once_counted_from_the_arrival_of_the_newest_frame():
    lifecycle = Lifecycle(Tracker(), predict_s=0.25)
    lifecycle.update(frame(1.0, "a", delay_s=8.0))
    assert lifecycle.expire(round(9.2 * SECOND)) == ()
    assert states(lifecycle.expire(round(9.3 * SECOND))) == {"a": "lost"}
    assert lifecycle.expire(round(9.4 * SECOND)) == ()


def test_people_detected_later_outlive_a_silence_that_loses_other_people():
    lifecycle = Lifecycle(Tracker(), predict_s=0.5)
    lifecycle.update(frame(0.0, "a", "b"))
    lifecycle.update(frame(0.4, "b"))
    assert states(lifecycle.expire(round(0.6 * SECOND))) == {"a": "lost", "b": "predicted"}


@pytest.mark.parametrize(("now_s", "silent"), [(0.2, False), (0.3, True)])
def test_a_camera_is_silent_after_the_longest_gap(now_s: float, silent: bool):
    lifecycle = Lifecycle(Tracker(), predict_s=0.0)
    assert not lifecycle.is_silent(100 * SECOND)  # before its first frame
    lifecycle.update(frame(0.0))
    assert lifecycle.is_silent(round(now_s * SECOND)) == silent


def test_a_restart_loses_all_people():
    lifecycle = Lifecycle(Tracker(), predict_s=1.0)
    assert lifecycle.restart() == ()
    lifecycle.update(frame(0, "a", "b"))
    assert states(lifecycle.restart()) == {"a": "lost", "b": "lost"}
    assert states(lifecycle.update(frame(0.1, "a"))) == {"a": "new"}


def test_a_lost_id_is_never_given_again():
    tracker = Tracker(Tracker.Settings(confirm_frames=1), max_missing_s=10.0, seed=1)
    lifecycle, ids = Lifecycle(tracker, predict_s=0.1), []
    for step in range(4):
        unnamed = dataclasses.replace(frame(step / 10), persons=(detection(),) if step in (0, 3) else ())
        (tracked,) = tracker.update(unnamed)
        ids += [person.id for person in lifecycle.update(tracked)]
    first, predicted, lost, second = ids
    assert first == predicted == lost != second


def test_predict_s_below_the_shortest_gap_does_not_shorten_gaps():
    assert (max_gap_s(0.0), max_gap_s(0.25), max_gap_s(2.0)) == (0.25, 0.25, 2.0)
