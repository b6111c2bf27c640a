import json
from dataclasses import replace

import msgpack
import pytest

from sinks.mqtt.publications import Publication, Publications
from stream.clock import FakeClock
from stream.messages import Header, Message
from stream.wire.codec import encode
from tests.examples import NOW_NS, UNIX_NS, meta, pose, pose_frame, status
from tests.golden import wire as golden

CLOCK = FakeClock()


def feed(**changes: object) -> Publications:
    values = {
        "prefix": "home/poselift",
        "node": "node 1",
        "format": "json",
        "max_hz": 10.0,
        "discovery": None,
    }
    return Publications(**(values | changes))


def captured(ms: int, *ids: str, lost: tuple[str, ...] = (), source: str = "cam0") -> Message:
    """A frame captured at `ms` with these persons in it."""
    persons = (*(pose(id) for id in ids), *(pose(id, state="lost") for id in lost))
    header = Header(source, ms, NOW_NS + ms * 1_000_000, UNIX_NS + ms * 1_000_000)
    return pose_frame(header=header, persons=persons)


def topics(feed: Publications, *messages: Message) -> list[str]:
    return [each.topic for message in messages for each in feed.publications(message, CLOCK)]


def poses_at(feed: Publications, times_ms: range | list[int], source: str = "cam0") -> list[int]:
    """Capture times of the frames that are published."""
    return [
        ms for ms in times_ms if f"home/poselift/{source}/pose3d" in topics(feed, captured(ms, source=source))
    ]


def event(kind: str, id: str, ms: int) -> Publication:
    document = {"event_type": kind, "id": id, "source": "cam0", "t_capture_ns": UNIX_NS + ms * 1_000_000}
    return Publication("home/poselift/cam0/events", json.dumps(document, separators=(",", ":")).encode(), 1)


def count(number: int) -> Publication:
    return Publication("home/poselift/cam0/persons", str(number).encode(), 0, True)


def test_a_frame_is_a_pose_document_that_is_never_retained():
    (*_, published) = feed().publications(pose_frame(), CLOCK)
    assert published == Publication("home/poselift/cam0/pose3d", golden.JSON["pose3d"], 0, False)


def test_poses_can_be_messagepack():
    (*_, published) = feed(format="msgpack").publications(pose_frame(published_unix_ns=0), CLOCK)
    document = msgpack.unpackb(published.payload)
    assert (document["seq"], document["t_publish_ns"], document["lat_ms"]["post"]) == (7, UNIX_NS, 9.0)


@pytest.mark.parametrize(("every_ms", "hz"), [(20, 10), (33, 10), (40, 10), (70, 10), (100, 10), (250, 4)])
def test_the_rate_is_right_whatever_the_cameras_is(every_ms, hz):
    assert len(poses_at(feed(), range(0, 10_000, every_ms))) == pytest.approx(
        10 * hz, abs=1
    )  # in ten seconds


def test_a_burst_is_thinned_evenly_in_capture_time():
    assert poses_at(feed(), range(0, 500, 20)) == [0, 100, 200, 300, 400]


def test_after_a_pause_the_beat_starts_anew():
    assert poses_at(feed(), [0, 50, 1000, 1050, 1100]) == [0, 1000, 1100]


def test_a_clock_that_jumps_back_does_not_silence_a_source():
    assert poses_at(feed(), [5000, 5050, 0, 50, 100]) == [5000, 0, 100]


def test_each_source_has_its_own_rate():
    both = feed()
    assert (poses_at(both, [0, 50]), poses_at(both, [0, 50], "cam1")) == ([0], [0])


def test_the_word_that_somebody_is_lost_is_never_thinned_out():
    one = feed()
    sent = [topics(one, frame) for frame in (captured(0, "a"), captured(20, "a"), captured(40, lost=("a",)))]
    assert ["home/poselift/cam0/pose3d" in each for each in sent] == [True, False, True]


def test_who_comes_and_goes_is_told_once_with_the_new_count():
    one = feed()
    frames = [
        captured(0),
        captured(20, "a"),
        captured(40, "a", "b"),
        captured(60, "a", "b"),
        captured(80, "b", lost=("a",)),
        captured(90, "c", lost=("b",)),
    ]
    told = [
        [each for each in one.publications(frame, CLOCK) if "pose3d" not in each.topic] for frame in frames
    ]
    assert told == [
        [count(0)],
        [event("new", "a", 20), count(1)],
        [event("new", "b", 40), count(2)],
        [],
        [event("lost", "a", 80), count(1)],
        [event("new", "c", 90), event("lost", "b", 90)],
    ]


def test_somebody_whose_last_frame_was_dropped_is_lost_nevertheless():
    one = feed()
    one.publications(captured(0, "a"), CLOCK)
    assert one.publications(captured(20), CLOCK) == [event("lost", "a", 20), count(0)]


def test_a_meta_is_published_when_it_changes():
    one, moved = feed(), replace(meta(), frame_id="elsewhere")
    told = [one.publications(each, CLOCK) for each in (meta(), meta(), moved)]
    assert told == [
        [Publication("home/poselift/cam0/meta", golden.JSON["meta"], 1, True)],
        [],
        [Publication("home/poselift/cam0/meta", encode(moved, "json"), 1, True)],
    ]


def test_a_status_is_published_as_stats():
    (published,) = feed().publications(status(), CLOCK)
    assert published == Publication("home/poselift/stats", golden.JSON["status"], 0, False)


def test_a_broker_that_forgot_everything_is_told_all_that_it_must_retain():
    one = feed()
    one.publications(meta(), CLOCK)
    one.publications(captured(0, "a", "b"), CLOCK)
    assert one.retained() == [
        Publication("home/poselift/available", b"online", 1, True),
        Publication("home/poselift/cam0/meta", golden.JSON["meta"], 1, True),
        count(2),
    ]


def test_home_assistant_is_told_when_a_source_appears_and_only_if_asked_for():
    asked = feed(discovery="homeassistant")
    config = "homeassistant/device/node_1/config"
    assert topics(asked, meta(), meta(), captured(0)) == [
        "home/poselift/cam0/meta",
        config,
        "home/poselift/cam0/persons",
        "home/poselift/cam0/pose3d",
    ]
    assert topics(asked, captured(0, source="cam1")) == [
        "home/poselift/cam1/persons",
        config,
        "home/poselift/cam1/pose3d",
    ]
    assert config not in topics(feed(), meta(), captured(0))
    assert [each.topic for each in asked.retained()][-1] == config


def test_home_assistant_gets_count_presence_and_events_of_each_source():
    asked = feed(discovery="homeassistant")
    assert asked.discovery() == []
    asked.publications(meta(), CLOCK)
    (published,) = asked.discovery()
    document = json.loads(published.payload)
    shared = {
        "availability_topic": "home/poselift/available",
        "availability_template": "{{ 'online' if value == 'online' else 'offline' }}",
    }
    assert (published.qos, published.retain) == (1, True)
    assert document == {
        "device": {"identifiers": ["poselift_node 1"], "name": "node 1"},
        "origin": {"name": "poselift"},
        "components": {
            "cam0_persons": {
                "platform": "sensor",
                "name": "cam0 persons",
                "unique_id": "poselift_node 1_cam0_persons",
                "state_topic": "home/poselift/cam0/persons",
                "state_class": "measurement",
                **shared,
            },
            "cam0_presence": {
                "platform": "binary_sensor",
                "name": "cam0 presence",
                "unique_id": "poselift_node 1_cam0_presence",
                "state_topic": "home/poselift/cam0/persons",
                "device_class": "occupancy",
                "value_template": "{{ 'ON' if value | int > 0 else 'OFF' }}",
                **shared,
            },
            "cam0_events": {
                "platform": "event",
                "name": "cam0 events",
                "unique_id": "poselift_node 1_cam0_events",
                "state_topic": "home/poselift/cam0/events",
                "event_types": ["new", "lost"],
                **shared,
            },
        },
    }
