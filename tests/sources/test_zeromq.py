"""Against real sockets on loopback; the sender knows only pyzmq and msgpack."""

import logging
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
import zmq

from sources.zeromq import ZeroMQ
from stream.clock import FakeClock
from stream.errors import ConfigError, SourceLost, SourceUnavailable
from stream.health import Health
from stream.messages import Header, KeypointFrame
from stream.protocols import ComponentContext, opened

WAIT_S = 10.0  # how long a message may take on a busy machine; nothing waits that long when all is well


@pytest.fixture
def sender() -> Iterator[zmq.Socket]:
    """A publisher that keeps its messages until somebody has subscribed."""
    context = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.LINGER, 0)
    yield socket
    context.destroy(linger=0)


def bound(sender: zmq.Socket) -> str:
    sender.bind("tcp://127.0.0.1:0")
    return sender.getsockopt_string(zmq.LAST_ENDPOINT)


def subscribed(sender: zmq.Socket) -> bytes:
    """Wait for a subscription, whose topic is returned."""
    assert sender.poll(WAIT_S * 1000)
    message = sender.recv()
    assert message[:1] == b"\x01"
    return message[1:]


def document(**changes: object) -> bytes:
    kp = np.zeros((17, 3), "<f4")
    kp[:, 2] = 0.5
    kp[3] = np.nan, np.nan, 0
    values = {
        "v": 1, "schema": "keypoints2d", "source": "cam0", "seq": 1, "t_capture_ns": 1,
        "size_wh": [640, 480], "skeleton": "coco17", "persons": [{"kp": kp.tobytes(), "id": "a3f9k"}],
    }  # fmt: skip
    values = {key: value for key, value in (values | changes).items() if value is not None}
    return msgpack.packb(values)


TOPIC = b"keypoints2d/v1/cam0/"


def zeromq_source(clock: FakeClock | None = None, health: Health | None = None, **settings: object) -> ZeroMQ:
    context = ComponentContext("network", clock=clock or FakeClock(), health=health or Health())
    return ZeroMQ(ZeroMQ.Settings(**settings), context)


def read(source: ZeroMQ) -> KeypointFrame:
    frame = source.read(WAIT_S)
    assert frame is not None
    return frame


def test_keypoints_of_another_program_arrive_whole(sender):
    clock = FakeClock(now_ns=50_000_000_000, unix_ns=1_700_000_000_000_000_000)
    with opened(zeromq_source(clock, endpoint=bound(sender))) as source:
        assert source.live
        subscribed(sender)
        sender.send_multipart([TOPIC, document(seq=41, t_capture_ns=1_699_999_999_970_000_000)])
        frame = read(source)
    # Captured 30 ms ago by both wall clocks, so 30 ms before now on this machine's monotonic clock.
    assert frame.header == Header("cam0", 41, 49_970_000_000, 1_699_999_999_970_000_000)
    assert frame.detected_ns == 50_000_000_000
    assert (frame.size_wh, frame.skeleton, frame.persons[0].id) == ((640, 480), "coco17", "a3f9k")
    np.testing.assert_array_equal(frame.persons[0].score[:5], np.float32([0.5, 0.5, 0.5, 0, 0.5]))
    assert np.isnan(frame.persons[0].xy[3]).all()


def test_a_sender_whose_clock_is_ahead_does_not_put_captures_into_the_future(sender, caplog):
    clock, health = FakeClock(now_ns=50_000_000_000, unix_ns=1_700_000_000_000_000_000), Health()
    with opened(zeromq_source(clock, health, endpoint=bound(sender))) as source:
        subscribed(sender)
        for _ in range(2):
            sender.send_multipart([TOPIC, document(t_capture_ns=1_700_000_009_000_000_000)])
            frame = read(source)
    assert frame.header == Header("cam0", 1, 50_000_000_000, 1_700_000_009_000_000_000)
    assert caplog.messages == [
        "network: the clock of cam0 is 9.0 s ahead of this machine's; ages are wrong until they agree"
    ]
    assert health.counter("network", "from_the_future") == 2


def test_a_bound_source_takes_several_senders_on_a_port_of_its_own(sender):
    with opened(zeromq_source(bind=True, endpoint="tcp://127.0.0.1:0")) as source:
        assert not source.endpoint.endswith(":0")
        with sender.context.socket(zmq.XPUB) as second:
            for socket, name in ((sender, "left"), (second, "right")):
                socket.connect(source.endpoint)
                while not socket.poll(10):  # a bound socket greets newcomers only while it is read
                    assert source.read(0) is None
                subscribed(socket)
                socket.send_multipart([TOPIC, document(source=name)])
                assert read(source).header.source == name


def test_every_message_keeps_its_own_source_name_and_one_without_gets_ours(sender):
    with opened(zeromq_source(endpoint=bound(sender))) as source:
        subscribed(sender)
        for changes in ({"source": "cam1"}, {"source": "cam2"}, {"source": None, "seq": None}):
            sender.send_multipart([TOPIC, document(**changes)])
        headers = [read(source).header for _ in range(3)]
    assert [(header.source, header.seq) for header in headers] == [("cam1", 1), ("cam2", 1), ("network", 2)]


def test_only_the_asked_topics_are_taken(sender):
    with opened(zeromq_source(endpoint=bound(sender), topic="keypoints2d/v1/cam1/")) as source:
        assert subscribed(sender) == b"keypoints2d/v1/cam1/"
        sender.send_multipart([b"keypoints2d/v1/cam10/", document(source="cam10")])
        sender.send_multipart([b"keypoints2d/v1/cam1/", document(source="cam1")])
        assert read(source).header.source == "cam1"
        assert source.read(0) is None


def test_payloads_without_a_topic_are_understood(sender):
    with opened(zeromq_source(endpoint=bound(sender), topic="")) as source:
        subscribed(sender)
        sender.send(document(seq=5))
        assert read(source).header.seq == 5


def test_junk_is_counted_and_said_once_and_harms_nobody(sender, caplog):
    health = Health()
    junk = [
        b"", b"junk", msgpack.packb({"v": 1}), document(v=2), document(schema="pose3d"), document()[:-9],
        document(skeleton="coco18"), document(skeleton="body25"), document(size_wh=[0, 5]),
        document(source="a/b"), document(persons=[{"kp": b"abc"}]),
        document(t_capture_ns=2**63 - 1),
    ]  # fmt: skip
    with (
        caplog.at_level(logging.WARNING),
        opened(zeromq_source(endpoint=bound(sender), health=health)) as source,
    ):
        subscribed(sender)
        for payload in junk:
            sender.send_multipart([TOPIC, payload])
        sender.send_multipart([TOPIC, b"one part", b"too many"])
        sender.send_multipart([TOPIC, document(seq=77)])
        found = [source.read(WAIT_S) for _ in range(len(junk) + 2)]
    assert found[:-1] == [None] * (len(junk) + 1)
    assert found[-1] is not None
    assert found[-1].header.seq == 77
    assert health.counter("network", "drop.junk") == len(junk) + 1
    assert len(caplog.records) == 1
    assert "network: dropped a message" in caplog.text


def test_newest_only_leaves_out_what_has_been_overtaken_per_topic(sender):
    health = Health()
    found: dict[str, list[int]] = {"cam0": [], "cam1": []}
    sent = 0
    with opened(zeromq_source(endpoint=bound(sender), health=health, newest_only=True)) as source:
        subscribed(sender)
        # Whether messages overtake each other is up to the sockets; sooner or later they do.
        while not health.counter("network", "drop.newest_wins"):
            for seq in range(sent, sent + 10):
                for camera in found:
                    payload = document(source=camera, seq=seq)
                    sender.send_multipart([f"keypoints2d/v1/{camera}/".encode(), payload])
            sent += 10
            while any(sent - 1 not in seqs for seqs in found.values()):
                header = read(source).header
                found[header.source].append(header.seq)
        assert source.read(0) is None
    for seqs in found.values():
        assert seqs == sorted(set(seqs))  # never back in time
    assert sum(map(len, found.values())) + health.counter("network", "drop.newest_wins") == 2 * sent


def test_by_default_every_message_is_read_in_order(sender):
    with opened(zeromq_source(endpoint=bound(sender))) as source:
        subscribed(sender)
        for seq in range(50):
            sender.send_multipart([TOPIC, document(seq=seq)])
        assert [read(source).header.seq for _ in range(50)] == list(range(50))


def test_silence_for_too_long_is_a_lost_source(sender):
    clock = FakeClock()
    endpoint = bound(sender)
    with opened(zeromq_source(clock, endpoint=endpoint, timeout_s=2.0)) as source:
        clock.advance(2.0)
        assert source.read(0) is None
        subscribed(sender)
        sender.send_multipart([TOPIC, document()])
        read(source)
        clock.advance(2.0)
        assert source.read(0) is None
        clock.advance(0.5)
        with pytest.raises(SourceLost, match=f"{endpoint}: no keypoints for 2.5 s"):
            source.read(0)


def test_junk_does_not_count_as_a_sign_of_life(sender):
    clock = FakeClock()
    with opened(zeromq_source(clock, endpoint=bound(sender), timeout_s=2.0)) as source:
        subscribed(sender)
        sender.send_multipart([TOPIC, b"junk"])
        clock.advance(2.5)
        with pytest.raises(SourceLost, match=r"no keypoints for 2.5 s \(1 messages were no keypoints\)"):
            source.read(WAIT_S)


def test_a_sender_that_comes_back_is_heard_by_a_source_opened_again(sender):
    endpoint = bound(sender)
    source = zeromq_source(endpoint=endpoint)
    for seq in (1, 2):
        with opened(source):
            subscribed(sender)
            sender.send_multipart([TOPIC, document(seq=seq)])
            assert read(source).header.seq == seq
        assert sender.poll(WAIT_S * 1000)
        sender.recv()  # unsubscribed
    source.close()
    with pytest.raises(SourceLost, match="network is closed"):
        source.read(0)


def test_a_port_in_use_may_be_free_later(sender):
    with pytest.raises(SourceUnavailable, match="cannot be bound now: Address already in use"):
        zeromq_source(bind=True, endpoint=bound(sender)).open()


@pytest.mark.parametrize("endpoint", ["tcp://", "tcp://127.0.0.1", "http://127.0.0.1:1"])
@pytest.mark.parametrize("bind", [True, False])
def test_an_endpoint_that_is_none_must_be_edited(endpoint, bind):
    with pytest.raises(
        ConfigError, match=r"network.endpoint: expected something like tcp://127\.0\.0\.1:5557"
    ):
        zeromq_source(endpoint=endpoint, bind=bind).open()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"endpoint": "localhost:5557"}, "expected something like tcp://.*, got 'localhost:5557'"),
        ({"endpoint": "tcp://127.0.0.1:99999"}, "expected something like tcp://.*:99999'"),
        ({"timeout_s": 0}, "expected a number above 0, got 0"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_expected(settings, message):
    with pytest.raises(ConfigError, match=message):
        ZeroMQ.Settings(**settings)


def test_opening_a_port_to_the_network_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        with opened(zeromq_source(bind=True, endpoint="tcp://127.0.0.1:0")):
            assert not caplog.records
        with opened(zeromq_source(bind=True, endpoint="tcp://0.0.0.0:0")):
            assert "everybody who reaches tcp://0.0.0.0:0 can send keypoints" in caplog.text
