"""The ZeroMQ source against real sockets on loopback; the sender uses only pyzmq and msgpack."""

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

TIMEOUT_S = 10.0  # for a message on a busy machine; tests that pass do not wait this long


@pytest.fixture
def sender() -> Iterator[zmq.Socket]:
    """A publisher that can wait for subscriptions."""
    context = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.LINGER, 0)
    yield socket
    context.destroy(linger=0)


def bind(sender: zmq.Socket) -> str:
    sender.bind("tcp://127.0.0.1:0")
    return sender.getsockopt_string(zmq.LAST_ENDPOINT)


def wait_for_subscription(sender: zmq.Socket) -> bytes:
    """Wait for a subscription and return its topic."""
    assert sender.poll(TIMEOUT_S * 1000)
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
    frame = source.read(TIMEOUT_S)
    assert frame is not None
    return frame


def test_keypoints_of_another_program_arrive_complete(sender):
    clock = FakeClock(now_ns=50_000_000_000, unix_ns=1_700_000_000_000_000_000)
    with opened(zeromq_source(clock, endpoint=bind(sender))) as source:
        assert source.live
        wait_for_subscription(sender)
        sender.send_multipart([TOPIC, document(seq=41, t_capture_ns=1_699_999_999_970_000_000)])
        frame = read(source)
    # Captured 30 ms ago by both wall clocks, so 30 ms before now on this machine's monotonic clock.
    assert frame.header == Header("cam0", 41, 49_970_000_000, 1_699_999_999_970_000_000)
    assert frame.detected_ns == 50_000_000_000
    assert (frame.size_wh, frame.skeleton, frame.persons[0].id) == ((640, 480), "coco17", "a3f9k")
    np.testing.assert_array_equal(frame.persons[0].score[:5], np.float32([0.5, 0.5, 0.5, 0, 0.5]))
    assert np.isnan(frame.persons[0].xy[3]).all()


def test_frames_of_a_sender_whose_clock_is_ahead_count_as_captured_now(sender, caplog):
    clock, health = FakeClock(now_ns=50_000_000_000, unix_ns=1_700_000_000_000_000_000), Health()
    with opened(zeromq_source(clock, health, endpoint=bind(sender))) as source:
        wait_for_subscription(sender)
        for _ in range(2):
            sender.send_multipart([TOPIC, document(t_capture_ns=1_700_000_009_000_000_000)])
            frame = read(source)
    assert frame.header == Header("cam0", 1, 50_000_000_000, 1_700_000_009_000_000_000)
    assert caplog.messages == [
        "network: the clock of cam0 is 9.0 s ahead of this machine's; ages are wrong until they agree"
    ]
    assert health.counter("network", "from_the_future") == 2


def test_a_source_that_binds_receives_from_several_senders_at_the_port_it_reports(sender):
    with opened(zeromq_source(bind=True, endpoint="tcp://127.0.0.1:0")) as source:
        assert not source.endpoint.endswith(":0")
        with sender.context.socket(zmq.XPUB) as second:
            for socket, name in ((sender, "left"), (second, "right")):
                socket.connect(source.endpoint)
                while not socket.poll(10):  # a bound socket subscribes at a new sender only while it is read
                    assert source.read(0) is None
                wait_for_subscription(socket)
                socket.send_multipart([TOPIC, document(source=name)])
                assert read(source).header.source == name


def test_every_message_keeps_its_source_name_and_one_without_gets_the_name_of_the_source(sender):
    with opened(zeromq_source(endpoint=bind(sender))) as source:
        wait_for_subscription(sender)
        for changes in ({"source": "cam1"}, {"source": "cam2"}, {"source": None, "seq": None}):
            sender.send_multipart([TOPIC, document(**changes)])
        headers = [read(source).header for _ in range(3)]
    assert [(header.source, header.seq) for header in headers] == [("cam1", 1), ("cam2", 1), ("network", 2)]


def test_only_topics_with_the_subscribed_prefix_are_received(sender):
    with opened(zeromq_source(endpoint=bind(sender), topic="keypoints2d/v1/cam1/")) as source:
        assert wait_for_subscription(sender) == b"keypoints2d/v1/cam1/"
        sender.send_multipart([b"keypoints2d/v1/cam10/", document(source="cam10")])
        sender.send_multipart([b"keypoints2d/v1/cam1/", document(source="cam1")])
        assert read(source).header.source == "cam1"
        assert source.read(0) is None


def test_payloads_without_a_topic_are_decoded(sender):
    with opened(zeromq_source(endpoint=bind(sender), topic="")) as source:
        wait_for_subscription(sender)
        sender.send(document(seq=5))
        assert read(source).header.seq == 5


def test_invalid_messages_are_counted_and_the_first_is_logged(sender, caplog):
    health = Health()
    invalid = [
        b"", b"junk", msgpack.packb({"v": 1}), document(v=2), document(schema="pose3d"), document()[:-9],
        document(skeleton="coco18"), document(skeleton="body25"), document(size_wh=[0, 5]),
        document(source="a/b"), document(persons=[{"kp": b"abc"}]),
        document(t_capture_ns=2**63 - 1),
    ]  # fmt: skip
    with (
        caplog.at_level(logging.WARNING),
        opened(zeromq_source(endpoint=bind(sender), health=health)) as source,
    ):
        wait_for_subscription(sender)
        for payload in invalid:
            sender.send_multipart([TOPIC, payload])
        sender.send_multipart([TOPIC, b"one part", b"too many"])
        sender.send_multipart([TOPIC, document(seq=77)])
        frames = [source.read(TIMEOUT_S) for _ in range(len(invalid) + 2)]
    assert frames[:-1] == [None] * (len(invalid) + 1)
    assert frames[-1] is not None
    assert frames[-1].header.seq == 77
    assert health.counter("network", "drop.junk") == len(invalid) + 1
    assert len(caplog.records) == 1
    assert "network: dropped an invalid message" in caplog.text


def test_newest_only_reads_the_newest_message_of_every_topic_and_counts_the_others(sender):
    health = Health()
    seqs_read: dict[str, list[int]] = {"cam0": [], "cam1": []}
    sent = 0
    with opened(zeromq_source(endpoint=bind(sender), health=health, newest_only=True)) as source:
        wait_for_subscription(sender)
        # How many messages wait at a time depends on the sockets; sooner or later there are two of a topic.
        while not health.counter("network", "drop.newest_wins"):
            for seq in range(sent, sent + 10):
                for camera in seqs_read:
                    payload = document(source=camera, seq=seq)
                    sender.send_multipart([f"keypoints2d/v1/{camera}/".encode(), payload])
            sent += 10
            while any(sent - 1 not in seqs for seqs in seqs_read.values()):
                header = read(source).header
                seqs_read[header.source].append(header.seq)
        assert source.read(0) is None
    for seqs in seqs_read.values():
        assert seqs == sorted(set(seqs))  # in order, none twice
    assert sum(map(len, seqs_read.values())) + health.counter("network", "drop.newest_wins") == 2 * sent


def test_by_default_every_message_is_read_in_order(sender):
    with opened(zeromq_source(endpoint=bind(sender))) as source:
        wait_for_subscription(sender)
        for seq in range(50):
            sender.send_multipart([TOPIC, document(seq=seq)])
        assert [read(source).header.seq for _ in range(50)] == list(range(50))


def test_a_source_without_messages_for_too_long_is_lost(sender):
    clock = FakeClock()
    endpoint = bind(sender)
    with opened(zeromq_source(clock, endpoint=endpoint, timeout_s=2.0)) as source:
        clock.advance(2.0)
        assert source.read(0) is None
        wait_for_subscription(sender)
        sender.send_multipart([TOPIC, document()])
        read(source)
        clock.advance(2.0)
        assert source.read(0) is None
        clock.advance(0.5)
        with pytest.raises(SourceLost, match=f"{endpoint}: no keypoints for 2.5 s"):
            source.read(0)


def test_invalid_messages_do_not_keep_a_source_from_being_lost(sender):
    clock = FakeClock()
    with opened(zeromq_source(clock, endpoint=bind(sender), timeout_s=2.0)) as source:
        wait_for_subscription(sender)
        sender.send_multipart([TOPIC, b"junk"])
        clock.advance(2.5)
        with pytest.raises(SourceLost, match=r"no keypoints for 2.5 s \(1 invalid messages\)"):
            source.read(TIMEOUT_S)


def test_a_source_can_be_closed_and_opened_again(sender):
    endpoint = bind(sender)
    source = zeromq_source(endpoint=endpoint)
    for seq in (1, 2):
        with opened(source):
            wait_for_subscription(sender)
            sender.send_multipart([TOPIC, document(seq=seq)])
            assert read(source).header.seq == seq
        assert sender.poll(TIMEOUT_S * 1000)
        sender.recv()  # unsubscribed
    source.close()
    with pytest.raises(SourceLost, match="network is closed"):
        source.read(0)


def test_a_port_in_use_is_an_unavailable_source(sender):
    with pytest.raises(SourceUnavailable, match="cannot be bound now: Address already in use"):
        zeromq_source(bind=True, endpoint=bind(sender)).open()


@pytest.mark.parametrize("endpoint", ["tcp://", "tcp://127.0.0.1", "http://127.0.0.1:1"])
@pytest.mark.parametrize("bind", [True, False])
def test_an_invalid_endpoint_is_a_config_error(endpoint, bind):
    with pytest.raises(
        ConfigError, match=r"network.endpoint: expected an address like tcp://127\.0\.0\.1:5557"
    ):
        zeromq_source(endpoint=endpoint, bind=bind, insecure=bind).open()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"endpoint": "localhost:5557"}, "expected an address like tcp://.*, got 'localhost:5557'"),
        ({"endpoint": "tcp://127.0.0.1:99999"}, "expected an address like tcp://.*:99999'"),
        ({"timeout_s": 0}, "expected a number above 0, got 0"),
    ],
)
def test_an_invalid_setting_is_a_config_error_that_names_the_expected_value(settings, message):
    with pytest.raises(ConfigError, match=message):
        ZeroMQ.Settings(**settings)


def test_binding_to_the_network_is_logged_as_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        with opened(zeromq_source(bind=True, endpoint="tcp://127.0.0.1:0")):
            assert not caplog.records
        with opened(zeromq_source(bind=True, endpoint="tcp://0.0.0.0:0", insecure=True)):
            assert "any program that reaches tcp://0.0.0.0:0 can send keypoints" in caplog.text
