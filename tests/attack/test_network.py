"""What strangers may send over the network: bounded, counted, and without harm to others."""

import dataclasses
import time
from collections.abc import Iterator

import pytest
import zmq

from sinks.zeromq import ZeroMQ as ZeroMQSink
from sources.keypoint_receiver import KeypointReceiver
from sources.zeromq import ZeroMQ as ZeroMQSource
from stream.client import Subscriber
from stream.clock import FakeClock
from stream.errors import DecodeError
from stream.health import Health
from stream.messages import Header
from stream.protocols import ComponentContext, opened
from stream.wire import codec as wire
from stream.wire.topics import topic_of
from tests.attack.raw_subscriber import RawSubscriber
from tests.examples import keypoint_frame, pose_frame

SETTINGS = ZeroMQSink.Settings(port=0, max_age_ms=None)


def received(sink: ZeroMQSink, subscriber: zmq.Socket, seconds: float = 5.0) -> bool:
    """Send until the subscriber gets a message; False when it gets none in time."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        sink.send(pose_frame())
        if subscriber.poll(20):
            subscriber.recv_multipart()
            return True
    return False


@pytest.fixture
def sink() -> Iterator[ZeroMQSink]:
    with opened(ZeroMQSink(SETTINGS, ComponentContext("zeromq"))) as sink:
        yield sink


@pytest.fixture
def good(sink: ZeroMQSink) -> Iterator[zmq.Socket]:
    """A subscriber that gets messages already."""
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.set(zmq.LINGER, 0)
        subscriber.subscribe(b"pose3d/")
        subscriber.connect(sink.endpoint)
        assert received(sink, subscriber)
        yield subscriber


@pytest.fixture
def attacker(sink: ZeroMQSink) -> Iterator[RawSubscriber]:
    subscriber = RawSubscriber(int(sink.endpoint.rpartition(":")[2]))
    yield subscriber
    subscriber.close()


def test_a_subscription_that_is_too_long_closes_only_its_own_connection(sink, good, attacker):
    closed = False
    for _ in range(50):
        closed = closed or not attacker.subscribe(b"x" * 200_000)
        assert received(sink, good)
    assert closed


def test_a_subscriber_with_too_many_subscriptions_is_disconnected_with_a_warning(
    sink, good, attacker, caplog
):
    until_s = time.monotonic() + 10
    number = 0
    while attacker.subscribe(b"%06d" % number + b"x" * 500) and time.monotonic() < until_s:
        number += 1
        if number % 10 == 0:
            assert received(sink, good)
    until_s = time.monotonic() + 2  # the connection may break before the line is written
    while "sent too many bytes" not in caplog.text and time.monotonic() < until_s:
        time.sleep(0.02)
    assert caplog.text.count("zeromq: closed a connection that sent too many bytes at once") == 1, number


def test_parts_of_an_endless_message_close_its_connection(caplog, monkeypatch):
    monkeypatch.setattr("sources.zeromq.MAX_TOTAL_BYTES", 1 << 20)
    with zmq.Context() as context, context.socket(zmq.PUB) as sender:
        sender.set(zmq.LINGER, 0)
        sender.bind("tcp://127.0.0.1:*")
        endpoint = sender.get_string(zmq.LAST_ENDPOINT)
        source = ZeroMQSource(ZeroMQSource.Settings(endpoint=endpoint), ComponentContext("net"))
        with opened(source):
            until_s = time.monotonic() + 5
            while "sent too many bytes" not in caplog.text and time.monotonic() < until_s:
                sender.send(b"keypoints2d/v1/", zmq.SNDMORE)
                for _ in range(20):
                    sender.send(b"x" * 100_000, zmq.SNDMORE)
                sender.send(b"")
                time.sleep(0.05)
    assert "net: closed a connection that sent too many bytes at once" in caplog.text


def test_a_subscriber_gets_poses_again_after_a_message_above_the_limit():
    frame = pose_frame()
    parts = [topic_of(frame), wire.encode(frame)]
    with zmq.Context() as context, context.socket(zmq.PUB) as node:
        node.set(zmq.LINGER, 0)
        node.bind("tcp://127.0.0.1:*")
        with Subscriber(node.get_string(zmq.LAST_ENDPOINT)) as subscriber:
            assert delivered(node, parts, subscriber)
            node.send_multipart([parts[0], b"x" * 2_000_000])
            while subscriber.read(0.3) is not None:
                pass
            assert delivered(node, parts, subscriber)


def delivered(node: zmq.Socket, parts: list[bytes], subscriber: Subscriber) -> bool:
    """Send a message until the subscriber gets it; False after 10 s."""
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s:
        node.send_multipart(parts)
        if subscriber.read(1.2) is not None:
            return True
    return False


def test_a_client_leaves_out_and_counts_poses_that_are_too_old(caplog):
    old = pose_frame(1)
    now_ns = time.time_ns()
    fresh = pose_frame(2, header=Header("cam0", 2, 0, now_ns))
    with zmq.Context() as context, context.socket(zmq.PUB) as node:
        node.set(zmq.LINGER, 0)
        node.bind("tcp://127.0.0.1:*")
        with Subscriber(node.get_string(zmq.LAST_ENDPOINT), max_age_ms=60_000) as subscriber:
            time.sleep(0.5)
            for frame in (old, old, fresh):
                node.send_multipart([topic_of(frame), wire.encode(frame)])
            assert subscriber.read(10.0).header.seq == 2
            assert subscriber.too_old == 2
    assert caplog.text.count("more than max_age_ms, and left out") == 1


def test_the_zeromq_sink_leaves_out_poses_that_are_too_old(caplog):
    health = Health()
    context = ComponentContext("zeromq", health=health)
    with opened(ZeroMQSink(ZeroMQSink.Settings(port=0), context)) as sink:
        sink.send(pose_frame())
    assert health.counter("zeromq", "drop.too_old") == 1
    assert "raise sinks.zeromq.max_age_ms" in caplog.text


def test_a_source_drops_messages_that_waited_while_the_process_stood_still(caplog):
    clock, health = FakeClock(), Health()
    receiver = KeypointReceiver(ComponentContext("net", clock=clock, health=health), timeout_s=60.0)
    assert not receiver.paused(0.1)
    clock.advance(0.1)
    assert not receiver.paused(0.1)
    clock.advance(8.1)
    assert receiver.paused(0.1)
    clock.advance(0.1)
    assert not receiver.paused(0.1)
    assert "net: the process stood still for 8.0 s" in caplog.text


def test_a_frame_has_a_consistent_capture_time_when_the_thread_pauses_between_the_clocks():
    class PausingClock(FakeClock):
        """Pauses for 50 ms after the first reading of the wall clock."""

        pauses = 1

        def unix_ns(self) -> int:
            unix_ns = super().unix_ns()
            if self.pauses:
                self.pauses -= 1
                self.advance(0.05)
            return unix_ns

    frame = keypoint_frame()
    clock = PausingClock()
    decoded = wire.decode_keypoints(wire.encode(frame), clock)
    age_ns = clock.unix_ns() - frame.header.captured_unix_ns
    assert decoded.header.captured_ns == clock.now_ns() - age_ns


def test_the_id_of_a_person_has_no_control_characters():
    frame = keypoint_frame()
    person = dataclasses.replace(frame.persons[0], id="\x1b[31mX")
    data = wire.encode(dataclasses.replace(frame, persons=(person,)))
    with pytest.raises(DecodeError):
        wire.decode_keypoints(data)


def test_a_frame_of_more_than_256_persons_is_refused():
    frame = keypoint_frame()
    data = wire.encode(dataclasses.replace(frame, persons=frame.persons[:1] * 257))
    with pytest.raises(DecodeError):
        wire.decode_keypoints(data)
