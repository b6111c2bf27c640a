"""People, names, numbers and counters that senders choose: bounded, aged out, logged from time to time."""

import dataclasses
import json

import pytest

from stream.clock import FakeClock
from stream.errors import SourceLost
from stream.health import Health
from stream.rate_limited_log import RateLimitedLog
from stream.runtime.camera_names import CameraNames
from stream.tracking.people_limit import MAX_NEW_PEOPLE, MAX_PEOPLE, MAX_PEOPLE_OF_SOURCE, PeopleLimit
from stream.tracking.tracker import MAX_TRACKS, Tracker
from tests.buffered_camera import BufferedCamera
from tests.sources.test_reconnecting import ScriptedSource, opened, reconnecting, seqs
from tests.stream.runtime.test_source_thread import Played, Script, at
from tests.stream.tracking.test_tracker import frame, person_at


def live_tracker(limit: PeopleLimit | None = None, confirm_frames: int = 3) -> Tracker:
    settings = Tracker.Settings(confirm_frames=confirm_frames)
    return Tracker(settings, 0.5, 1, limit=limit or PeopleLimit())


def test_an_id_of_the_sender_is_confirmed_like_any_other():
    tracker = live_tracker()
    published = [tracker.update(frame(n / 50, person_at(300, id="anna")))[0].persons for n in range(4)]
    assert [len(persons) for persons in published] == [0, 0, 1, 1]
    assert published[3][0].id == "anna"


def test_ids_that_change_in_every_frame_are_never_published():
    tracker = live_tracker()
    for number in range(500):
        (tracked,) = tracker.update(frame(number / 50, person_at(300, id=f"id{number}")))
        assert tracked.persons == ()
    assert tracker.unconfirmed_ids > 400


def test_a_camera_has_a_limited_number_of_people_and_tracks():
    tracker = live_tracker(confirm_frames=1)
    people = [person_at(300, id=f"p{number}") for number in range(3 * MAX_PEOPLE)]
    (tracked,) = tracker.update(frame(0, *people))
    assert len(tracked.persons) == 1 + MAX_NEW_PEOPLE
    assert tracker.ignored_people == 3 * MAX_PEOPLE - 1 - MAX_NEW_PEOPLE
    assert MAX_TRACKS == 2 * MAX_PEOPLE


def test_new_people_are_limited_in_time():
    limit, admitted = PeopleLimit(), 0
    for second in range(100):
        admitted += sum(limit.admit(1, second * 10**9) for _ in range(1000))
    assert admitted == 1 + 50 + 99 * 8


def test_many_cameras_may_start_at_once_each_with_one_person():
    limit = PeopleLimit()
    assert all(limit.admit(camera, 0) for camera in range(200))


def test_the_cameras_of_a_source_share_a_limit_until_they_are_silent():
    limit = PeopleLimit()
    for camera in range(5):
        limit.update(camera, MAX_PEOPLE, 0)
    assert 5 * MAX_PEOPLE == MAX_PEOPLE_OF_SOURCE
    assert not limit.admit(0, 10**9)
    assert limit.admit(0, 3 * 10**9)


def test_frames_that_waited_too_long_are_dropped_and_counted_and_their_events_kept():
    health = Health()
    camera = BufferedCamera(health=health)
    for number in range(4):
        at_ns = number * 10**9 // 5
        camera.push(dataclasses.replace(frame(number / 5, person_at(300, id="anna")), detected_ns=at_ns))
    request = camera.buffer.pop_due(1, 0, oldest_ns=500_000_000)
    assert [pending.header.captured_ns for pending in request.frames] == [600_000_000]
    assert [person.state for person in request.frames[0].persons] == ["new"]
    assert health.counter("cam0", "drop.too_old") == 3


def test_lost_people_are_announced_at_any_age_when_no_later_frame_comes():
    camera = BufferedCamera()
    camera.push(dataclasses.replace(frame(0, person_at(300, id="anna")), detected_ns=0))
    assert camera.pop_due() is not None
    assert camera.expire(10**9)
    request = camera.buffer.pop_due(1, 0, oldest_ns=60 * 10**9)
    assert [[(person.id, person.state) for person in each.persons] for each in request.frames] == [
        [("anna", "lost")]
    ]


def test_the_name_of_a_configured_source_belongs_to_it():
    names = CameraNames({"good", "net"})
    assert names.claim("good", "good", 0)
    assert not names.claim("good", "net", 0)


def test_any_other_name_belongs_to_its_first_sender_until_it_is_silent():
    names, second_ns = CameraNames({"a", "b"}), 10**9
    assert names.claim("cam7", "a", 0)
    assert not names.claim("cam7", "b", 4 * second_ns)
    assert names.claim("cam7", "b", 6 * second_ns)
    assert not names.claim("cam7", "a", 7 * second_ns)


def test_a_new_camera_takes_the_place_of_the_camera_that_was_silent_for_longest():
    cameras = [at(number, 300, camera=f"c{number}") for number in range(256)]
    too_early = at(1000, 300, camera="newcomer")
    later = [at(7000, 300, camera="newcomer"), at(7020, 310, camera="newcomer")]
    played = Played(*cameras, too_early, *later)
    counters = played.health.report()["counters"]
    assert counters["newcomer.frames"] == 2
    assert counters["cam0.drop.too_many_cameras"] == 1
    assert "c0.frames" not in counters
    assert counters["cam0.frames"] == 1  # those of c0


def test_names_beyond_the_limit_leave_no_counters(caplog):
    played = Played(*[at(number / 10, 300, camera=f"c{number}") for number in range(2000)])
    components = {key.partition(".")[0] for key in played.health.report()["counters"]}
    assert len(components) == 257
    assert caplog.text.count("256 cameras send already") == 1


def test_clocks_set_back_again_and_again_are_logged_once_in_ten_seconds(caplog):
    frames = [at(100_000 - 3000 * number, 300) for number in range(20)]

    class Backwards(Script):
        def read(self, timeout_s):
            return next(self._items, None) or super().read(timeout_s)

    Played(*frames, script=Backwards)
    assert caplog.text.count("the clock went back") == 1


def test_a_status_report_stays_below_64_kb():
    health = Health()
    health.set_state("net", "lost", "x" * 100_000)
    for number in range(2000):
        health.increment(f"{'ü' * 200}{number}", "frames")
    health.increment("net", "drop.junk")
    health.increment("lift", "frames", 7)
    report = health.report()
    assert len(json.dumps(report, ensure_ascii=False).encode()) < 64_000
    assert report["counters"]["net.drop.junk"] == 1
    assert report["counters"]["lift.frames"] == 7
    assert sum(report["counters"].values()) == 2008


@pytest.mark.parametrize("seq", [2**63 - 1, 2**63 - 2])
def test_the_largest_seq_does_not_silence_a_source(seq):
    first = ScriptedSource(seq, SourceLost("silent"))
    second = ScriptedSource(5, 6)
    with opened(reconnecting(first, second)) as source:
        numbers = seqs(source, 3)
    assert max(numbers) <= 2**63 - 1
    assert numbers[0] == seq
    assert numbers[2] in (6, 2**63 - 1)


def test_a_log_line_appears_once_in_ten_seconds_with_the_number_left_out(caplog):
    clock = FakeClock()
    log = RateLimitedLog(clock)
    for _ in range(5):
        log.warning("crowd", "too many: %d", 3)
    log.warning("other", "something else")
    clock.advance(10)
    log.warning("crowd", "too many: %d", 4)
    assert [record.getMessage() for record in caplog.records] == [
        "too many: 3",
        "something else",
        "too many: 4 (and 4 times more since the last such line)",
    ]
