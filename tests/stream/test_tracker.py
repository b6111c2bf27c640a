import string
from dataclasses import replace

import numpy as np
import pytest

from stream.messages import Header, KeypointFrame, Keypoints
from stream.tracker import Tracker

# 17 joints of somebody 100 px wide and 300 px high, around the origin.
BODY = np.random.default_rng(5).uniform((-50, -150), (50, 150), (17, 2)).astype(np.float32)


def somebody(x: float, y: float = 360, id: str | None = None, size: float = 1.0) -> Keypoints:
    return Keypoints((BODY * size + (x, y)).astype(np.float32), np.ones(17, np.float32), id)


def frame(at_s: float, *persons: Keypoints) -> KeypointFrame:
    at_ns = round(at_s * 1e9)
    return KeypointFrame(Header("cam0", 0, at_ns, at_ns), (1280, 720), "h36m17", persons, at_ns)


def ids(tracker: Tracker, at_s: float, *persons: Keypoints) -> list[str | None]:
    return [person.id for person in tracker.update(frame(at_s, *persons)).persons]


def hidden(person: Keypoints, *joints: int) -> Keypoints:
    xy, score = person.xy.copy(), person.score.copy()
    xy[list(joints)], score[list(joints)] = np.nan, 0
    return replace(person, xy=xy, score=score)


def test_an_id_has_five_characters_and_starts_with_a_letter():
    people = [somebody(300 * place, 400 * row) for place in range(8) for row in range(8)]
    found = ids(Tracker(), 0, *people)
    assert len(set(found)) == 64
    for id in found:
        assert len(id) == 5
        assert id[0] in string.ascii_lowercase
        assert set(id) <= set(string.ascii_lowercase + string.digits)


def test_the_same_seed_gives_the_same_ids():
    people = (somebody(300), somebody(900))
    assert ids(Tracker(seed=3), 0, *people) == ids(Tracker(seed=3), 0, *people)
    assert ids(Tracker(seed=3), 0, *people) != ids(Tracker(seed=4), 0, *people)
    assert ids(Tracker(), 0, *people) != ids(Tracker(), 0, *people)


def test_everything_but_the_id_is_left_as_it_came():
    came = frame(0, hidden(somebody(300), 2))
    went = Tracker(seed=1).update(came)
    assert went.header == came.header
    assert (went.size_wh, went.skeleton, went.detected_ns) == (came.size_wh, came.skeleton, came.detected_ns)
    np.testing.assert_array_equal(went.persons[0].xy, came.persons[0].xy)
    np.testing.assert_array_equal(went.persons[0].score, came.persons[0].score)


def test_people_keep_their_ids_whatever_order_the_detector_names_them_in():
    tracker = Tracker(seed=1)
    left, right = ids(tracker, 0, somebody(300), somebody(900))
    assert ids(tracker, 0.02, somebody(896), somebody(304)) == [right, left]


@pytest.mark.parametrize("fps", [10, 25, 50])
def test_two_people_who_walk_through_each_other_keep_their_ids(fps):
    tracker = Tracker(seed=1)
    noise = np.random.default_rng(0)
    first = None
    for step in range(4 * fps):
        x = 200 * step / fps  # px; they meet after 2 s
        people = [somebody(240 + x), somebody(1040 - x, size=0.8)]  # one nearer than the other
        people = [replace(p, xy=p.xy + noise.normal(0, 2, (17, 2)).astype(np.float32)) for p in people]
        # The nearer one hides the other for the moment they share a place.
        if abs(x - 400) < 20:
            people = people[:1]
        found = ids(tracker, step / fps, *people)
        first = first or found
        assert found == first[: len(people)]


def test_somebody_hidden_for_a_while_comes_back_as_themselves_where_they_were_heading():
    tracker = Tracker(seed=1, max_missing_s=1.0)
    for step in range(25):
        (walker,) = ids(tracker, step / 50, somebody(300 + 4 * step))  # 200 px/s
    for step in range(25, 55):
        assert ids(tracker, step / 50) == []
    assert ids(tracker, 55 / 50, somebody(300 + 4 * 40)) == [walker]


def test_somebody_gone_for_too_long_comes_back_as_somebody_new():
    tracker = Tracker(seed=1, max_missing_s=0.5)
    before = ids(tracker, 0, somebody(300))
    assert ids(tracker, 0.5, somebody(300)) == before
    after = ids(tracker, 1.02, somebody(300))
    assert after != before


def test_an_id_is_never_used_twice():
    tracker = Tracker(seed=1, max_missing_s=0.1)
    seen = [ids(tracker, at, somebody(300))[0] for at in range(500)]
    assert len(set(seen)) == 500


def test_a_newcomer_does_not_take_over_the_id_of_somebody_far_away():
    tracker = Tracker(seed=1)
    first = ids(tracker, 0, somebody(200))
    second = ids(tracker, 0.1, somebody(1000))
    assert second != first
    assert ids(tracker, 0.2, somebody(200), somebody(1000)) == first + second


def test_distance_counts_in_body_sizes():
    near, far = Tracker(seed=1), Tracker(seed=1)
    # The same 60 px are a small step for somebody near and several body widths for somebody far away.
    assert ids(near, 0, somebody(300, size=2)) == ids(near, 0.1, somebody(360, size=2))
    assert ids(far, 0, somebody(300, size=0.2)) != ids(far, 0.1, somebody(360, size=0.2))


def test_half_a_body_is_still_the_same_person():
    tracker = Tracker(seed=1)
    whole = ids(tracker, 0, somebody(300))
    assert ids(tracker, 0.1, hidden(somebody(304), *range(8))) == whole
    assert ids(tracker, 0.2, hidden(somebody(308), *range(8, 17))) == whole
    assert ids(tracker, 0.3, somebody(312)) == whole


def test_a_person_without_a_single_joint_is_nobody():
    assert ids(Tracker(seed=1), 0, hidden(somebody(300), *range(17))) == []


def test_ids_that_the_network_gave_are_kept_and_not_given_to_others():
    tracker, twin = Tracker(seed=1), Tracker(seed=1)
    (would_be,) = ids(twin, 0, somebody(300))
    found = ids(tracker, 0, somebody(300), somebody(900, id=would_be))
    assert found[1] == would_be
    assert found[0] != would_be
    assert ids(tracker, 0.1, somebody(300), somebody(100, id=would_be)) == found


def test_a_clock_that_stands_or_jumps_back_loses_nobody():
    tracker = Tracker(seed=1)
    first = ids(tracker, 5, somebody(300))
    assert ids(tracker, 5, somebody(302)) == first
    assert ids(tracker, 3, somebody(304)) == first
    assert ids(tracker, 5.1, somebody(306)) == first
