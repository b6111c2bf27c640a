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


def make_publications(**changes: object) -> Publications:
    values = {
        "prefix": "home/poselift",
        "node": "node 1",
        "format": "json",
        "max_hz": 10.0,
        "discovery_prefix": None,
    }
    return Publications(**(values | changes))


def captured(ms: int, *ids: str, lost: tuple[str, ...] = (), source: str = "cam0") -> Message:
    """A frame captured at `ms`, with these persons."""
    persons = (*(pose(id) for id in ids), *(pose(id, state="lost") for id in lost))
    header = Header(source, ms, NOW_NS + ms * 1_000_000, UNIX_NS + ms * 1_000_000)
    return pose_frame(header=header, persons=persons)


def topics(publications: Publications, *messages: Message) -> list[str]:
    return [each.topic for message in messages for each in publications.from_message(message, CLOCK)]


def poses_at(publications: Publications, times_ms: range | list[int], source: str = "cam0") -> list[int]:
    """Capture times of the frames whose poses are published."""
    return [
        ms
        for ms in times_ms
        if f"home/poselift/{source}/pose3d" in topics(publications, captured(ms, source=source))
    ]


def event(kind: str, id: str, ms: int) -> Publication:
    document = {"event_type": kind, "id": id, "source": "cam0", "t_capture_ns": UNIX_NS + ms * 1_000_000}
    return Publication("home/poselift/cam0/events", json.dumps(document, separators=(",", ":")).encode(), 1)


def count(number: int) -> Publication:
    return Publication("home/poselift/cam0/persons", str(number).encode(), 0, True)


def test_a_frame_is_a_pose_document_and_never_retained():
    (*_, published) = make_publications().from_message(pose_frame(), CLOCK)
    assert published == Publication("home/poselift/cam0/pose3d", golden.JSON["pose3d"], 0, False)


def test_poses_can_be_messagepack():
    (*_, published) = make_publications(format="msgpack").from_message(pose_frame(published_unix_ns=0), CLOCK)
    document = msgpack.unpackb(published.payload)
    assert (document["seq"], document["t_publish_ns"], document["lat_ms"]["post"]) == (7, UNIX_NS, 9.0)


@pytest.mark.parametrize(("every_ms", "hz"), [(20, 10), (33, 10), (40, 10), (70, 10), (100, 10), (250, 4)])
def test_the_mean_rate_is_max_hz_for_every_camera_rate(every_ms, hz):
    assert len(poses_at(make_publications(), range(0, 10_000, every_ms))) == pytest.approx(
        10 * hz, abs=1
    )  # in ten seconds


def test_a_burst_is_thinned_evenly_in_capture_time():
    assert poses_at(make_publications(), range(0, 500, 20)) == [0, 100, 200, 300, 400]


def test_after_a_pause_the_interval_starts_at_the_next_frame():
    assert poses_at(make_publications(), [0, 50, 1000, 1050, 1100]) == [0, 1000, 1100]


def test_a_clock_that_jumps_back_does_not_silence_a_source():
    assert poses_at(make_publications(), [5000, 5050, 0, 50, 100]) == [5000, 0, 100]


def test_each_source_has_its_own_rate():
    publications = make_publications()
    assert (poses_at(publications, [0, 50]), poses_at(publications, [0, 50], "cam1")) == ([0], [0])


def test_a_frame_with_a_lost_person_is_always_published():
    publications = make_publications()
    sent = [
        topics(publications, frame)
        for frame in (captured(0, "a"), captured(20, "a"), captured(40, lost=("a",)))
    ]
    assert ["home/poselift/cam0/pose3d" in each for each in sent] == [True, False, True]


def test_a_new_or_lost_person_causes_one_event_and_the_new_count():
    publications = make_publications()
    frames = [
        captured(0),
        captured(20, "a"),
        captured(40, "a", "b"),
        captured(60, "a", "b"),
        captured(80, "b", lost=("a",)),
        captured(90, "c", lost=("b",)),
    ]
    published = [
        [each for each in publications.from_message(frame, CLOCK) if "pose3d" not in each.topic]
        for frame in frames
    ]
    assert published == [
        [count(0)],
        [event("new", "a", 20), count(1)],
        [event("new", "b", 40), count(2)],
        [],
        [event("lost", "a", 80), count(1)],
        [event("new", "c", 90), event("lost", "b", 90)],
    ]


def test_a_person_whose_last_frame_was_dropped_still_causes_a_lost_event():
    publications = make_publications()
    publications.from_message(captured(0, "a"), CLOCK)
    assert publications.from_message(captured(20), CLOCK) == [event("lost", "a", 20), count(0)]


def test_persons_missing_in_a_frame_of_lost_persons_alone_remain_present():
    publications = make_publications()
    publications.from_message(captured(0, "a", "b"), CLOCK)
    (lost, one, _) = publications.from_message(captured(20, lost=("b",)), CLOCK)
    assert (lost, one) == (event("lost", "b", 20), count(1))
    (pose_alone,) = publications.from_message(captured(120, "a"), CLOCK)
    assert pose_alone.topic == "home/poselift/cam0/pose3d"


def test_a_meta_is_published_when_it_changes():
    publications, moved = make_publications(), replace(meta(), frame_id="elsewhere")
    published = [publications.from_message(each, CLOCK) for each in (meta(), meta(), moved)]
    assert published == [
        [Publication("home/poselift/cam0/meta", golden.JSON["meta"], 1, True)],
        [],
        [Publication("home/poselift/cam0/meta", encode(moved, "json"), 1, True)],
    ]


def test_a_status_is_published_as_stats():
    (published,) = make_publications().from_message(status(), CLOCK)
    assert published == Publication("home/poselift/stats", golden.JSON["status"], 0, False)


def test_the_retained_publications_are_availability_meta_and_count():
    publications = make_publications()
    publications.from_message(meta(), CLOCK)
    publications.from_message(captured(0, "a", "b"), CLOCK)
    assert publications.retained() == [
        Publication("home/poselift/available", b"online", 1, True),
        Publication("home/poselift/cam0/meta", golden.JSON["meta"], 1, True),
        count(2),
    ]


def test_discovery_is_published_when_a_source_appears_and_only_if_enabled():
    publications = make_publications(discovery_prefix="homeassistant")
    config = "homeassistant/device/node_1/config"
    assert topics(publications, meta(), meta(), captured(0)) == [
        "home/poselift/cam0/meta",
        config,
        "home/poselift/cam0/persons",
        "home/poselift/cam0/pose3d",
    ]
    assert topics(publications, captured(0, source="cam1")) == [
        "home/poselift/cam1/persons",
        config,
        "home/poselift/cam1/pose3d",
    ]
    assert config not in topics(make_publications(), meta(), captured(0))
    assert [each.topic for each in publications.retained()][-1] == config


def test_the_discovery_document_is_retained_and_empty_before_the_first_source():
    publications = make_publications(discovery_prefix="homeassistant")
    assert publications.discovery() == []
    publications.from_message(meta(), CLOCK)
    (published,) = publications.discovery()
    document = json.loads(published.payload)
    assert (published.topic, published.qos, published.retain) == (
        "homeassistant/device/node_1/config",
        1,
        True,
    )
    assert list(document["components"]) == [
        "health",
        "age",
        "cam0_persons",
        "cam0_presence",
        "cam0_events",
        "cam0_camera",
    ]
