import itertools
import string
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.walking_figure import VirtualCamera, Walk, figure
from stream.errors import ConfigError
from stream.messages import Header, KeypointFrame, Keypoints
from stream.tracking.association import solve_assignment
from stream.tracking.tracker import Tracker

# 17 joints of somebody 100 px wide and 300 px high, around the origin.
BODY = np.random.default_rng(5).uniform((-50, -150), (50, 150), (17, 2)).astype(np.float32)


def somebody(x: float, y: float = 360, id: str | None = None, size: float = 1.0) -> Keypoints:
    return Keypoints((BODY * size + (x, y)).astype(np.float32), np.ones(17, np.float32), id)


def frame(at_s: float, *persons: Keypoints) -> KeypointFrame:
    at_ns = round(at_s * 1e9)
    return KeypointFrame(Header("cam0", 0, at_ns, at_ns), (1280, 720), "h36m17", persons, at_ns)


def tracking(
    seed: int | None = 1, confirm_frames: int = 1, max_missing_s: float = 1.0, **settings
) -> Tracker:
    """A tracker that believes every detection at once, unless told otherwise."""
    return Tracker(Tracker.Settings(confirm_frames=confirm_frames, **settings), max_missing_s, seed)


def ids(tracker: Tracker, at_s: float, *persons: Keypoints) -> list[str | None]:
    (known,) = tracker.update(frame(at_s, *persons))
    return [person.id for person in known.persons]


def hidden(person: Keypoints, *joints: int) -> Keypoints:
    xy, score = person.xy.copy(), person.score.copy()
    xy[list(joints)], score[list(joints)] = np.nan, 0
    return replace(person, xy=xy, score=score)


def test_an_id_has_five_characters_and_starts_with_a_letter():
    people = [somebody(300 * place, 400 * row) for place in range(8) for row in range(8)]
    found = ids(tracking(None), 0, *people)
    assert len(set(found)) == 64
    for id in found:
        assert len(id) == 5
        assert id[0] in string.ascii_lowercase
        assert set(id) <= set(string.ascii_lowercase + string.digits)


def test_the_same_seed_gives_the_same_ids():
    people = (somebody(300), somebody(900))
    assert ids(tracking(3), 0, *people) == ids(tracking(3), 0, *people)
    assert ids(tracking(3), 0, *people) != ids(tracking(4), 0, *people)
    assert ids(tracking(None), 0, *people) != ids(tracking(None), 0, *people)


def test_tracking_changes_only_the_id():
    came = frame(0, hidden(somebody(300), 2))
    (went,) = tracking().update(came)
    assert went.header == came.header
    assert (went.size_wh, went.skeleton, went.detected_ns) == (came.size_wh, came.skeleton, came.detected_ns)
    np.testing.assert_array_equal(went.persons[0].xy, came.persons[0].xy)
    np.testing.assert_array_equal(went.persons[0].score, came.persons[0].score)


def test_ids_do_not_depend_on_the_order_of_the_detections():
    tracker = tracking()
    left, right = ids(tracker, 0, somebody(300), somebody(900))
    assert ids(tracker, 0.02, somebody(896), somebody(304)) == [right, left]


@pytest.mark.parametrize("fps", [10, 25, 50])
def test_two_people_who_walk_through_each_other_keep_their_ids(fps):
    tracker = tracking()
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


def test_a_person_hidden_for_a_while_keeps_the_id_on_the_expected_path():
    tracker = tracking(max_missing_s=1.0)
    for step in range(25):
        (walker,) = ids(tracker, step / 50, somebody(300 + 4 * step))  # 200 px/s
    for step in range(25, 55):
        assert ids(tracker, step / 50) == []
    assert ids(tracker, 55 / 50, somebody(300 + 4 * 40)) == [walker]


def test_a_person_missing_for_too_long_gets_a_new_id():
    tracker = tracking(max_missing_s=0.5)
    before = ids(tracker, 0, somebody(300))
    assert ids(tracker, 0.5, somebody(300)) == before
    after = ids(tracker, 1.02, somebody(300))
    assert after != before


def test_an_id_is_never_used_twice():
    tracker = tracking(max_missing_s=0.1)
    seen = [ids(tracker, at, somebody(300))[0] for at in range(500)]
    assert len(set(seen)) == 500


def test_a_new_person_does_not_take_over_the_id_of_a_distant_track():
    tracker = tracking()
    first = ids(tracker, 0, somebody(200))
    second = ids(tracker, 0.1, somebody(1000))
    assert second != first
    assert ids(tracker, 0.2, somebody(200), somebody(1000)) == first + second


def test_distances_are_measured_in_body_sizes():
    near, far = tracking(), tracking()
    # The same 60 px are a small step for somebody near and several body widths for somebody far away.
    assert ids(near, 0, somebody(300, size=2)) == ids(near, 0.1, somebody(360, size=2))
    assert ids(far, 0, somebody(300, size=0.2)) != ids(far, 0.1, somebody(360, size=0.2))


def test_a_half_hidden_person_keeps_the_id():
    tracker = tracking()
    whole = ids(tracker, 0, somebody(300))
    assert ids(tracker, 0.1, hidden(somebody(304), *range(8))) == whole
    assert ids(tracker, 0.2, hidden(somebody(308), *range(8, 17))) == whole
    assert ids(tracker, 0.3, somebody(312)) == whole


def test_a_detection_without_joints_is_dropped():
    assert ids(tracking(), 0, hidden(somebody(300), *range(17))) == []


def test_ids_from_the_network_are_kept_and_not_given_to_other_people():
    tracker, twin = tracking(), tracking()
    (would_be,) = ids(twin, 0, somebody(300))
    found = ids(tracker, 0, somebody(300), somebody(900, id=would_be))
    assert found[1] == would_be
    assert found[0] != would_be
    assert ids(tracker, 0.1, somebody(300), somebody(100, id=would_be)) == found


def test_a_clock_that_stands_or_jumps_back_loses_no_person():
    tracker = tracking()
    first = ids(tracker, 5, somebody(300))
    assert ids(tracker, 5, somebody(302)) == first
    assert ids(tracker, 3, somebody(304)) == first
    assert ids(tracker, 5.1, somebody(306)) == first


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
def test_overflowing_coordinates_do_not_disturb_other_tracks():
    tracker = tracking()
    far = [somebody(x, y, size=1e35) for x, y in ((1e38, 0), (-3e38, 3e38), (3e38, -3e38))]
    (first, *_) = ids(tracker, 0, somebody(300), *far)
    for step in range(1, 10):
        found = ids(tracker, step / 25, somebody(300), *far[step % 3 :], *far[: step % 3])
        assert found[0] == first
        assert len(set(found)) == 4


# Crossings, and who hides whom


def crowd(seconds: float, fps: float, *walks: Walk, hide: float = 0.4) -> list[list[tuple[int, Keypoints]]]:
    """Per frame who is seen: walkers before a camera 8 m from the middle; the nearer hides the farther."""
    camera = VirtualCamera(position_m=(8.0, 0.0, 1.5))
    noise = np.random.default_rng(4)
    frames = []
    for step in range(round(seconds * fps)):
        bodies = camera.view(np.array([figure(step / fps, walk) for walk in walks]))
        pixels = camera.project(bodies)
        middle = pixels[:, 0, 0]
        width = np.ptp(pixels[:, :, 1], axis=1) * hide  # half as wide as high, about
        seen = []
        for who in np.argsort(bodies[:, 0, 2]):
            if all(abs(middle[who] - middle[other]) > width[other] for other, _ in seen):
                xy = pixels[who] + noise.normal(0, 2, (17, 2))
                seen.append((int(who), Keypoints(xy.astype(np.float32), np.ones(17, np.float32))))
        frames.append(seen)
    return frames


def line(depth_m: float, to_the_right: bool, speed_m_s: float = 1.2, seconds: float = 4.0, **walk) -> Walk:
    """Somebody who passes the middle of the picture after half of `seconds`, `depth_m` from the camera."""
    side = -1 if to_the_right else 1
    start = (0.0 if side > 0 else np.pi) - speed_m_s * seconds / 2 / 50
    return Walk(
        speed_m_s=speed_m_s, centre_m=(8 - depth_m - side * 50, 0), radius_m=50, start_rad=start, **walk
    )


def names(tracker: Tracker, frames: list[list[tuple[int, Keypoints]]], fps: float) -> dict[int, set[str]]:
    """All ids that each of the people went under."""
    found: dict[int, set[str]] = {}
    for step, seen in enumerate(frames):
        for (who, _), id in zip(seen, ids(tracker, step / fps, *(person for _, person in seen)), strict=True):
            found.setdefault(who, set()).add(id)
    return found


@pytest.mark.parametrize("fps", [10, 25, 50])
def test_walkers_who_hide_one_another_do_not_exchange_ids(fps):
    walks = line(4.0, True), line(5.2, False, stride_phase=0.3), line(6.5, False, 1.6, seconds=3.0)
    frames = crowd(4.0, fps, *walks, hide=0.2)
    assert {len(seen) for seen in frames} >= {1, 2}  # they do hide one another
    found = names(tracking(), frames, fps)
    assert [len(found[who]) for who in range(3)] == [1, 1, 1]
    assert len(set.union(*found.values())) == 3


def test_a_person_overtaking_behind_another_keeps_the_id():
    walks = line(4.0, True, 0.8), line(5.0, True, 2.4, stride_phase=0.5)
    frames = crowd(4.0, 25, *walks, hide=0.2)
    assert [who for who, _ in frames[50]] == [0]  # hidden
    assert sorted(who for who, _ in frames[-1]) == [0, 1]
    assert [len(each) for each in names(tracking(), frames, 25).values()] == [1, 1]


def test_a_visible_person_does_not_get_the_id_of_a_hidden_person():
    tracker = tracking()
    for step in range(10):
        small, large = ids(tracker, step / 25, somebody(560 + 8 * step, size=0.7), somebody(640))
    for step in range(10, 16):
        assert ids(tracker, step / 25, somebody(640)) == [large]
    assert ids(tracker, 16 / 25, somebody(560 + 8 * 16, size=0.7), somebody(640)) == [small, large]


def test_overlapping_people_are_associated_with_the_best_total():
    tracker = tracking()
    left, right = ids(tracker, 0, somebody(300), somebody(340))
    # The right one's detection lies nearer to where the left one was; the left one has gone further left.
    assert ids(tracker, 0.1, somebody(318), somebody(270)) == [right, left]


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 2), (5, 5), (6, 4)])
def test_an_assignment_costs_the_least_of_all(shape):
    random = np.random.default_rng(7)
    for _ in range(50):
        cost = random.normal(size=shape).round(1)
        pairs = solve_assignment(cost)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == min(shape)
        tall = cost if shape[0] >= shape[1] else cost.T
        ways = itertools.permutations(range(tall.shape[0]), tall.shape[1])
        least = min(sum(tall[row, column] for column, row in enumerate(way)) for way in ways)
        assert sum(cost[pair] for pair in pairs) == pytest.approx(least)


# Beginnings


def test_a_person_is_published_from_the_third_detection_on():
    tracker = tracking(confirm_frames=3)
    found = [ids(tracker, step / 25, somebody(300)) for step in range(4)]
    assert [len(each) for each in found] == [0, 0, 1, 1]
    assert found[2] == found[3]


def test_confirming_detections_may_have_gaps():
    tracker = tracking(confirm_frames=3)
    seen = [somebody(300)], [], [somebody(300)], [], [somebody(300)]
    assert [len(ids(tracker, step / 25, *each)) for step, each in enumerate(seen)] == [0, 0, 0, 0, 1]


def test_an_occasional_detection_is_never_confirmed():
    tracker = tracking(confirm_frames=3)
    for step in range(40):
        assert ids(tracker, step / 25, *([somebody(300)] if step % 4 == 0 else [])) == []


def test_in_a_file_people_are_published_from_the_first_detection_and_false_detections_never():
    tracker = Tracker(seed=1, patient=True)
    out = []
    for step in range(20):
        seen = [somebody(300 + step)] * (step >= 6) + [somebody(900)] * (step in (3, 4))
        out += tracker.update(frame(step / 25, *seen))
    assert len(out) == 16  # a birth takes up to five frames
    out += tracker.end()
    assert [each.header.captured_ns for each in out] == [round(step / 25 * 1e9) for step in range(20)]
    assert [len(each.persons) for each in out] == [0] * 6 + [1] * 14
    assert len({person.id for each in out for person in each.persons}) == 1


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_file_shorter_than_the_confirmation_keeps_its_people(length):
    tracker = Tracker(seed=1, patient=True)
    out = [each for step in range(length) for each in tracker.update(frame(step / 25, somebody(300)))]
    assert [len(each.persons) for each in out + tracker.end()] == [1] * length


def test_a_person_with_an_id_from_the_source_is_published_at_once():
    assert ids(Tracker(seed=1), 0, somebody(300, id="anna")) == ["anna"]


# Whom to leave out


def noisy(person: Keypoints, random: np.random.Generator) -> Keypoints:
    return replace(person, xy=person.xy + random.normal(0, 4, (17, 2)).astype(np.float32))


def test_a_poster_on_the_wall_is_left_out_with_min_motion():
    tracker, random = tracking(min_motion=0.05), np.random.default_rng(2)
    counts = []
    for step in range(100):
        poster, walker = somebody(300), somebody(700 + 4 * min(step, 50))
        found = ids(tracker, step / 25, noisy(poster, random), noisy(walker, random))
        counts.append(len(found))
    assert counts[0] == 0
    assert set(counts[25:]) == {1}  # who has walked stays, also when standing
    assert len(ids(tracking(), 0, somebody(300))) == 1


def test_the_largest_person_stays_selected_until_another_person_is_clearly_larger():
    tracker = tracking(persons="largest")
    first = ids(tracker, 0, somebody(300), somebody(900, size=0.8))
    assert len(first) == 1
    assert ids(tracker, 0.1, somebody(300), somebody(900, size=1.1)) == first
    assert ids(tracker, 0.2) == []
    assert ids(tracker, 0.3, somebody(900, size=1.1)) == []  # the place is kept for somebody hidden
    second = ids(tracker, 0.4, somebody(300), somebody(900, size=1.4))
    assert len(second) == 1
    assert second != first


def test_the_next_largest_person_is_selected_when_the_largest_is_gone():
    tracker = tracking(persons="largest", max_missing_s=0.5)
    first = ids(tracker, 0, somebody(300), somebody(900, size=0.5))
    assert ids(tracker, 0.4, somebody(900, size=0.5)) == []
    assert len(ids(tracker, 0.6, somebody(900, size=0.5)) + first) == 2


def test_at_most_n_persons_are_published():
    tracker = tracking(persons=2)
    people = [somebody(200, size=0.5), somebody(600), somebody(1000, size=0.8)]
    whole = tracker.update(frame(0, *people))[0]
    assert [person.xy[0, 0] for person in whole.persons] == [people[1].xy[0, 0], people[2].xy[0, 0]]


# Ids


def test_two_detections_with_one_id_are_two_persons():
    first, second = ids(tracking(), 0, somebody(300, id="anna"), somebody(900, id="anna"))
    assert first == "anna"
    assert second != "anna"


place = st.tuples(
    st.integers(0, 3), st.integers(0, 30), st.booleans(), st.sampled_from([None, None, "a", "b", "own"])
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.lists(place, max_size=5), st.sampled_from([0.0, 0.04, 0.6])), max_size=15),
    st.sampled_from(["all", "largest", 2]),
    st.integers(1, 3),
    st.booleans(),
)
def test_two_persons_of_a_frame_never_have_the_same_id(steps, persons, confirm_frames, patient):
    options = Tracker.Settings(persons=persons, confirm_frames=confirm_frames)
    tracker, at_s, out = Tracker(options, 0.5, seed=1, patient=patient), 0.0, []
    for people, wait_s in steps:
        at_s += wait_s
        own = next((who.id for each in reversed(out) for who in each.persons), None)  # named like another
        seen = []
        for spot, shift, half, name in people:
            person = somebody(300 * spot + shift, id=own if name == "own" else name)
            seen.append(hidden(person, *range(8)) if half else person)
        out += tracker.update(frame(at_s, *seen))
    out += tracker.end()
    assert len(out) == len(steps)
    for each in out:
        found = [person.id for person in each.persons]
        assert None not in found
        assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"persons": 0}, "tracking.persons: expected all, largest or a number from 1, got 0"),
        ({"confirm_frames": 0}, "tracking.confirm_frames: expected a number from 1, got 0"),
        ({"min_motion": -1.0}, "tracking.min_motion: expected a number from 0"),
    ],
)
def test_settings_out_of_range_are_refused(values, says):
    with pytest.raises(ConfigError, match=says):
        Tracker.Settings(**values)


def test_a_forgotten_id_is_replaced_although_the_person_never_left():
    tracker = tracking()
    (first,) = ids(tracker, 0, somebody(300))
    tracker.forget([first])
    (second,) = ids(tracker, 0.02, somebody(304))
    assert second != first
    assert ids(tracker, 0.04, somebody(308)) == [second]


def test_ids_from_the_source_are_not_forgotten():
    tracker = tracking()
    assert ids(tracker, 0, somebody(300, id="anna")) == ["anna"]
    tracker.forget(["anna"])
    assert ids(tracker, 0.02, somebody(304, id="anna")) == ["anna"]


def test_after_a_restart_all_people_get_new_ids():
    tracker = tracking()
    before = ids(tracker, 100, somebody(300), somebody(900))
    tracker.restart()
    after = ids(tracker, 0, somebody(300), somebody(900))
    assert len({*before, *after}) == 4
