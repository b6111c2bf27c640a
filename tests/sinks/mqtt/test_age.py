"""Poses that are too old are not sent to a broker, and sources silent for long are forgotten, there too."""

from stream.clock import FakeClock
from stream.messages import Header
from stream.protocols import opened
from tests.examples import NOW_NS, UNIX_NS, meta, pose_frame
from tests.sinks.mqtt.test_publications import make_publications
from tests.sinks.mqtt.test_sink import WatchedHealth, listen, seqs, sink

__all__ = ["listen"]  # a fixture

AGE_NS = 10 * 10**9


def test_poses_older_than_max_age_ms_are_left_out_and_counted_and_their_events_sent(
    mosquitto, listen, caplog
):
    listener, health = listen(mosquitto.port), WatchedHealth()
    old = pose_frame(header=Header("cam0", 1, NOW_NS - AGE_NS, UNIX_NS - AGE_NS))
    fresh = pose_frame(header=Header("cam0", 2, NOW_NS, UNIX_NS))
    with opened(sink(mosquitto.port, health, max_age_ms=3000.0)) as mqtt:
        health.await_state("ok")
        mqtt.send(old)
        mqtt.send(fresh)
        messages = listener.until("poselift/cam0/pose3d")
    assert seqs(messages) == [2]
    assert [message.topic for message in messages].count("poselift/cam0/events") == 1
    assert health.counter("mqtt", "drop.too_old") == 1
    assert caplog.text.count("a pose is 10000 ms old, more than 3000 ms, and not sent") == 1


def test_without_max_age_ms_poses_of_any_age_are_sent(mosquitto, listen):
    listener, health = listen(mosquitto.port), WatchedHealth()
    with opened(sink(mosquitto.port, health, max_age_ms=None)) as mqtt:
        health.await_state("ok")
        mqtt.send(pose_frame(1, header=Header("cam0", 1, NOW_NS - AGE_NS, UNIX_NS - AGE_NS)))
        assert seqs(listener.until("poselift/cam0/pose3d")) == [1]


def test_of_more_than_256_sources_the_one_silent_for_longest_is_forgotten_at_the_broker_too():
    publications, clock = make_publications(), FakeClock()
    for number in range(256):
        publications.from_message(meta(f"cam{number}"), clock)
        publications.from_message(pose_frame(source=f"cam{number}"), clock)
    publications.from_message(pose_frame(8, source="cam0"), clock)
    cleared = [
        publication
        for publication in publications.from_message(pose_frame(source="newcomer"), clock)
        if publication.payload == b""
    ]
    assert cleared == [
        ("home/poselift/cam1/meta", b"", 1, True),
        ("home/poselift/cam1/persons", b"", 1, True),
    ]
    retained = {publication.topic for publication in publications.retained()}
    assert "home/poselift/cam1/meta" not in retained
    assert {"home/poselift/cam0/meta", "home/poselift/newcomer/persons"} < retained


def test_ever_new_sources_leave_no_more_than_256_behind():
    publications, clock = make_publications(), FakeClock()
    for number in range(1000):
        publications.from_message(pose_frame(source=f"cam{number}"), clock)
    assert len(publications.retained()) == 257  # one is `available`


def test_a_stopped_node_leaves_no_count_of_persons_at_the_broker(mosquitto, listen):
    listener, health = listen(mosquitto.port), WatchedHealth()
    with opened(sink(mosquitto.port, health)) as mqtt:
        health.await_state("ok")
        mqtt.send(pose_frame())
        listener.until("poselift/cam0/persons", b"1")
    messages = listener.until("poselift/available", b"stopped")
    assert ("poselift/cam0/persons", b"0") in [(message.topic, message.payload) for message in messages]
