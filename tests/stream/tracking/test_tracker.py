import string
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.walking_figure import VirtualCamera, Walk, figure
from stream.errors import ConfigError
from stream.messages import Header, KeypointFrame, Keypoints
from stream.tracking.tracker import Tracker

# 17 joints (J, 2) px of a person 100 px wide and 300 px high, around the origin.
BODY = np.random.default_rng(5).uniform((-50, -150), (50, 150), (17, 2)).astype(np.float32)


def person_at(x: float, y: float = 360, id: str | None = None, size: float = 1.0) -> Keypoints:
    return Keypoints((BODY * size + (x, y)).astype(np.float32), np.ones(17, np.float32), id)


def frame(at_s: float, *persons: Keypoints) -> KeypointFrame:
    at_ns = round(at_s * 1e9)
    return KeypointFrame(Header("cam0", 0, at_ns, at_ns), (1280, 720), "h36m17", persons, at_ns)


def make_tracker(
    seed: int | None = 1, confirm_frames: int = 1, max_missing_s: float = 1.0, **settings
) -> Tracker:
    """A tracker that confirms every detection at once by default."""
    return Tracker(Tracker.Settings(confirm_frames=confirm_frames, **settings), max_missing_s, seed)


def update(tracker: Tracker, at_s: float, *persons: Keypoints) -> list[str | None]:
    """The ids of these detections in the next frame."""
    (tracked,) = tracker.update(frame(at_s, *persons))
    return [person.id for person in tracked.persons]


def hidden(person: Keypoints, *joints: int) -> Keypoints:
    xy, score = person.xy.copy(), person.score.copy()
    xy[list(joints)], score[list(joints)] = np.nan, 0
    return replace(person, xy=xy, score=score)


def test_an_id_has_five_characters_and_starts_with_a_letter():
    people = [person_at(300 * column, 400 * row) for column in range(8) for row in range(8)]
    ids = update(make_tracker(None), 0, *people)
    assert len(set(ids)) == 64
    for id in ids:
        assert len(id) == 5
        assert id[0] in string.ascii_lowercase
        assert set(id) <= set(string.ascii_lowercase + string.digits)


def test_the_same_seed_gives_the_same_ids():
    people = (person_at(300), person_at(900))
    assert update(make_tracker(3), 0, *people) == update(make_tracker(3), 0, *people)
    assert update(make_tracker(3), 0, *people) != update(make_tracker(4), 0, *people)
    assert update(make_tracker(None), 0, *people) != update(make_tracker(None), 0, *people)


def test_tracking_changes_only_the_id():
    before = frame(0, hidden(person_at(300), 2))
    (after,) = make_tracker().update(before)
    assert after.header == before.header
    assert (after.size_wh, after.skeleton) == (before.size_wh, before.skeleton)
    assert after.detected_ns == before.detected_ns
    np.testing.assert_array_equal(after.persons[0].xy, before.persons[0].xy)
    np.testing.assert_array_equal(after.persons[0].score, before.persons[0].score)


def test_ids_do_not_depend_on_the_order_of_the_detections():
    tracker = make_tracker()
    left, right = update(tracker, 0, person_at(300), person_at(900))
    assert update(tracker, 0.02, person_at(896), person_at(304)) == [right, left]


@pytest.mark.parametrize("fps", [10, 25, 50])
def test_two_people_who_walk_through_each_other_keep_their_ids(fps):
    tracker = make_tracker()
    noise = np.random.default_rng(0)
    first = None
    for step in range(4 * fps):
        x = 200 * step / fps  # px; they meet after 2 s
        people = [person_at(240 + x), person_at(1040 - x, size=0.8)]  # the first is nearer
        people = [replace(p, xy=p.xy + noise.normal(0, 2, (17, 2)).astype(np.float32)) for p in people]
        # The near person hides the far one while they overlap.
        if abs(x - 400) < 20:
            people = people[:1]
        ids = update(tracker, step / fps, *people)
        first = first or ids
        assert ids == first[: len(people)]


def test_a_person_hidden_for_a_while_keeps_the_id_on_the_expected_path():
    tracker = make_tracker(max_missing_s=1.0)
    for step in range(25):
        (walker,) = update(tracker, step / 50, person_at(300 + 4 * step))  # 200 px/s
    for step in range(25, 55):
        assert update(tracker, step / 50) == []
    assert update(tracker, 55 / 50, person_at(300 + 4 * 40)) == [walker]


def test_a_person_missing_for_too_long_gets_a_new_id():
    tracker = make_tracker(max_missing_s=0.5)
    before = update(tracker, 0, person_at(300))
    assert update(tracker, 0.5, person_at(300)) == before
    after = update(tracker, 1.02, person_at(300))
    assert after != before


def test_an_id_is_never_used_twice():
    tracker = make_tracker(max_missing_s=0.1)
    ids_by_second = [update(tracker, at_s, person_at(300))[0] for at_s in range(500)]
    assert len(set(ids_by_second)) == 500


def test_a_new_person_does_not_take_over_the_id_of_a_distant_track():
    tracker = make_tracker()
    first = update(tracker, 0, person_at(200))
    second = update(tracker, 0.1, person_at(1000))
    assert second != first
    assert update(tracker, 0.2, person_at(200), person_at(1000)) == first + second


def test_distances_are_measured_in_body_sizes():
    near, far = make_tracker(), make_tracker()
    # The same 60 px are a small step of a near person and several body widths of a far person.
    assert update(near, 0, person_at(300, size=2)) == update(near, 0.1, person_at(360, size=2))
    assert update(far, 0, person_at(300, size=0.2)) != update(far, 0.1, person_at(360, size=0.2))


def test_a_half_hidden_person_keeps_the_id():
    tracker = make_tracker()
    complete = update(tracker, 0, person_at(300))
    assert update(tracker, 0.1, hidden(person_at(304), *range(8))) == complete
    assert update(tracker, 0.2, hidden(person_at(308), *range(8, 17))) == complete
    assert update(tracker, 0.3, person_at(312)) == complete


def test_a_detection_without_joints_is_dropped():
    assert update(make_tracker(), 0, hidden(person_at(300), *range(17))) == []


def test_ids_from_the_network_are_kept_and_not_given_to_other_people():
    tracker, twin = make_tracker(), make_tracker()
    (next_id,) = update(twin, 0, person_at(300))
    ids = update(tracker, 0, person_at(300), person_at(900, id=next_id))
    assert ids[1] == next_id
    assert ids[0] != next_id
    assert update(tracker, 0.1, person_at(300), person_at(100, id=next_id)) == ids


def test_a_clock_that_stands_or_jumps_back_loses_no_person():
    tracker = make_tracker()
    first = update(tracker, 5, person_at(300))
    assert update(tracker, 5, person_at(302)) == first
    assert update(tracker, 3, person_at(304)) == first
    assert update(tracker, 5.1, person_at(306)) == first


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
def test_overflowing_coordinates_do_not_disturb_other_tracks():
    tracker = make_tracker()
    far = [person_at(x, y, size=1e35) for x, y in ((1e38, 0), (-3e38, 3e38), (3e38, -3e38))]
    (first, *_) = update(tracker, 0, person_at(300), *far)
    for step in range(1, 10):
        ids = update(tracker, step / 25, person_at(300), *far[step % 3 :], *far[: step % 3])
        assert ids[0] == first
        assert len(set(ids)) == 4


# People who cross and hide each other


def crowd(seconds: float, fps: float, *walks: Walk, hide: float = 0.4) -> list[list[tuple[int, Keypoints]]]:
    """Visible walkers per frame, by index, before a camera 8 m from the centre; near people hide far ones."""
    camera = VirtualCamera(position_m=(8.0, 0.0, 1.5))
    noise = np.random.default_rng(4)
    frames = []
    for step in range(round(seconds * fps)):
        bodies = camera.view(np.array([figure(step / fps, walk) for walk in walks]))
        pixels = camera.project(bodies)
        centre_x = pixels[:, 0, 0]
        width = np.ptp(pixels[:, :, 1], axis=1) * hide  # of the hidden area, as a share of the height
        visible: list[tuple[int, Keypoints]] = []
        for index in np.argsort(bodies[:, 0, 2]):
            if all(abs(centre_x[index] - centre_x[other]) > width[other] for other, _ in visible):
                xy = pixels[index] + noise.normal(0, 2, (17, 2))
                person = Keypoints(xy.astype(np.float32), np.ones(17, np.float32))
                visible.append((int(index), person))
        frames.append(visible)
    return frames


def line(depth_m: float, to_the_right: bool, speed_m_s: float = 1.2, seconds: float = 4.0, **walk) -> Walk:
    """A walker who passes the image centre after half of `seconds`, `depth_m` from the camera."""
    side = -1 if to_the_right else 1
    start = (0.0 if side > 0 else np.pi) - speed_m_s * seconds / 2 / 50
    return Walk(
        speed_m_s=speed_m_s, centre_m=(8 - depth_m - side * 50, 0), radius_m=50, start_rad=start, **walk
    )


def ids_by_walker(
    tracker: Tracker, frames: list[list[tuple[int, Keypoints]]], fps: float
) -> dict[int, set[str]]:
    """All ids of every walker, by index."""
    ids: dict[int, set[str]] = {}
    for step, visible in enumerate(frames):
        tracked_ids = update(tracker, step / fps, *(person for _, person in visible))
        for (index, _), id in zip(visible, tracked_ids, strict=True):
            ids.setdefault(index, set()).add(id)
    return ids


@pytest.mark.parametrize("fps", [10, 25, 50])
def test_walkers_who_hide_one_another_do_not_exchange_ids(fps):
    walks = line(4.0, True), line(5.2, False, stride_phase=0.3), line(6.5, False, 1.6, seconds=3.0)
    frames = crowd(4.0, fps, *walks, hide=0.2)
    assert {len(visible) for visible in frames} >= {1, 2}  # they do hide each other
    ids = ids_by_walker(make_tracker(), frames, fps)
    assert [len(ids[index]) for index in range(3)] == [1, 1, 1]
    assert len(set.union(*ids.values())) == 3


def test_a_person_overtaking_behind_another_keeps_the_id():
    walks = line(4.0, True, 0.8), line(5.0, True, 2.4, stride_phase=0.5)
    frames = crowd(4.0, 25, *walks, hide=0.2)
    assert [index for index, _ in frames[50]] == [0]  # the second walker is hidden
    assert sorted(index for index, _ in frames[-1]) == [0, 1]
    assert [len(walker_ids) for walker_ids in ids_by_walker(make_tracker(), frames, 25).values()] == [1, 1]


def test_a_visible_person_does_not_get_the_id_of_a_hidden_person():
    tracker = make_tracker()
    for step in range(10):
        small, large = update(tracker, step / 25, person_at(560 + 8 * step, size=0.7), person_at(640))
    for step in range(10, 16):
        assert update(tracker, step / 25, person_at(640)) == [large]
    assert update(tracker, 16 / 25, person_at(560 + 8 * 16, size=0.7), person_at(640)) == [small, large]


def test_overlapping_people_are_associated_with_the_best_total():
    tracker = make_tracker()
    left, right = update(tracker, 0, person_at(300), person_at(340))
    # The right person is now nearer to the left person's last position; the left person went further left.
    assert update(tracker, 0.1, person_at(318), person_at(270)) == [right, left]


# Confirmation


def test_a_person_is_published_from_the_third_detection_on():
    tracker = make_tracker(confirm_frames=3)
    ids_by_frame = [update(tracker, step / 25, person_at(300)) for step in range(4)]
    assert [len(ids) for ids in ids_by_frame] == [0, 0, 1, 1]
    assert ids_by_frame[2] == ids_by_frame[3]


def test_confirming_detections_may_have_gaps():
    tracker = make_tracker(confirm_frames=3)
    frames = [person_at(300)], [], [person_at(300)], [], [person_at(300)]
    counts = [len(update(tracker, step / 25, *persons)) for step, persons in enumerate(frames)]
    assert counts == [0, 0, 0, 0, 1]


def test_an_occasional_detection_is_never_confirmed():
    tracker = make_tracker(confirm_frames=3)
    for step in range(40):
        assert update(tracker, step / 25, *([person_at(300)] if step % 4 == 0 else [])) == []


def test_in_a_file_people_are_published_from_the_first_detection_and_false_detections_never():
    tracker = Tracker(seed=1, lookahead=True)
    out = []
    for step in range(20):
        persons = [person_at(300 + step)] * (step >= 6) + [person_at(900)] * (step in (3, 4))
        out += tracker.update(frame(step / 25, *persons))
    assert len(out) == 16  # a confirmation takes up to five frames
    out += tracker.flush()
    assert [tracked.header.captured_ns for tracked in out] == [round(step / 25 * 1e9) for step in range(20)]
    assert [len(tracked.persons) for tracked in out] == [0] * 6 + [1] * 14
    assert len({person.id for tracked in out for person in tracked.persons}) == 1


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_file_shorter_than_the_confirmation_keeps_its_people(length):
    tracker = Tracker(seed=1, lookahead=True)
    out = [tracked for step in range(length) for tracked in tracker.update(frame(step / 25, person_at(300)))]
    assert [len(tracked.persons) for tracked in out + tracker.flush()] == [1] * length


# Selection


def noisy(person: Keypoints, random: np.random.Generator) -> Keypoints:
    return replace(person, xy=person.xy + random.normal(0, 4, (17, 2)).astype(np.float32))


def test_a_poster_on_the_wall_is_left_out_with_min_motion():
    tracker, random = make_tracker(min_motion=0.05), np.random.default_rng(2)
    counts = []
    for step in range(100):
        poster, walker = person_at(300), person_at(700 + 4 * min(step, 50))
        ids = update(tracker, step / 25, noisy(poster, random), noisy(walker, random))
        counts.append(len(ids))
    assert counts[0] == 0
    assert set(counts[25:]) == {1}  # a person who has walked stays, also when standing
    assert len(update(make_tracker(), 0, person_at(300))) == 1


def test_the_largest_person_stays_selected_until_another_person_is_clearly_larger():
    tracker = make_tracker(persons="largest")
    first = update(tracker, 0, person_at(300), person_at(900, size=0.8))
    assert len(first) == 1
    assert update(tracker, 0.1, person_at(300), person_at(900, size=1.1)) == first
    assert update(tracker, 0.2) == []
    assert update(tracker, 0.3, person_at(900, size=1.1)) == []  # the slot is kept for the hidden person
    second = update(tracker, 0.4, person_at(300), person_at(900, size=1.4))
    assert len(second) == 1
    assert second != first


def test_the_next_largest_person_is_selected_when_the_largest_is_gone():
    tracker = make_tracker(persons="largest", max_missing_s=0.5)
    first = update(tracker, 0, person_at(300), person_at(900, size=0.5))
    assert update(tracker, 0.4, person_at(900, size=0.5)) == []
    assert len(update(tracker, 0.6, person_at(900, size=0.5)) + first) == 2


def test_at_most_n_persons_are_published():
    tracker = make_tracker(persons=2)
    people = [person_at(200, size=0.5), person_at(600), person_at(1000, size=0.8)]
    tracked = tracker.update(frame(0, *people))[0]
    assert [person.xy[0, 0] for person in tracked.persons] == [people[1].xy[0, 0], people[2].xy[0, 0]]


# Ids


def test_two_detections_with_one_id_are_two_persons():
    first, second = update(make_tracker(), 0, person_at(300, id="anna"), person_at(900, id="anna"))
    assert first == "anna"
    assert second != "anna"


detection = st.tuples(
    st.integers(0, 3), st.integers(0, 30), st.booleans(), st.sampled_from([None, None, "a", "b", "own"])
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.lists(detection, max_size=5), st.sampled_from([0.0, 0.04, 0.6])), max_size=15),
    st.sampled_from(["all", "largest", 2]),
    st.integers(1, 3),
    st.booleans(),
)
def test_two_persons_of_a_frame_never_have_the_same_id(steps, persons, confirm_frames, lookahead):
    options = Tracker.Settings(persons=persons, confirm_frames=confirm_frames)
    tracker, at_s, out = Tracker(options, 0.5, seed=1, lookahead=lookahead), 0.0, []
    for people, wait_s in steps:
        at_s += wait_s
        # An id that the tracker itself gave to another person.
        own = next((person.id for earlier in reversed(out) for person in earlier.persons), None)
        detections = []
        for column, shift, half, id in people:
            person = person_at(300 * column + shift, id=own if id == "own" else id)
            detections.append(hidden(person, *range(8)) if half else person)
        out += tracker.update(frame(at_s, *detections))
    out += tracker.flush()
    assert len(out) == len(steps)
    for tracked in out:
        ids = [person.id for person in tracked.persons]
        assert None not in ids
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"persons": 0}, "tracking.persons: expected all, largest or a number from 1, got 0"),
        ({"confirm_frames": 0}, "tracking.confirm_frames: expected a number from 1, got 0"),
        ({"min_motion": -1.0}, "tracking.min_motion: expected a number from 0"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Tracker.Settings(**values)


def test_a_forgotten_id_is_replaced_although_the_person_never_left():
    tracker = make_tracker()
    (first,) = update(tracker, 0, person_at(300))
    tracker.forget([first])
    (second,) = update(tracker, 0.02, person_at(304))
    assert second != first
    assert update(tracker, 0.04, person_at(308)) == [second]


def test_ids_from_the_source_are_not_forgotten():
    tracker = make_tracker()
    assert update(tracker, 0, person_at(300, id="anna")) == ["anna"]
    tracker.forget(["anna"])
    assert update(tracker, 0.02, person_at(304, id="anna")) == ["anna"]


def test_after_a_restart_all_people_get_new_ids():
    tracker = make_tracker()
    before = update(tracker, 100, person_at(300), person_at(900))
    tracker.restart()
    after = update(tracker, 0, person_at(300), person_at(900))
    assert len({*before, *after}) == 4


def test_a_false_detection_that_left_before_the_end_of_a_file_is_not_confirmed_by_the_end():
    tracker = Tracker(Tracker.Settings(confirm_frames=3), seed=1, lookahead=True)
    present = [True, False, False, False, True, False]
    frames = [frame(n / 50, *([person_at(300)] if here else [])) for n, here in enumerate(present)]
    published = [after for before in frames for after in tracker.update(before)] + tracker.flush()
    assert [after.persons for after in published] == [()] * 6
