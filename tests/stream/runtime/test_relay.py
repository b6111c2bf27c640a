"""The relay: one order of messages per camera, from one worker at a time."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from sinks.memory import Memory
from sinks.zeromq import ZeroMQ
from stream.clock import FakeClock
from stream.config.load import ComponentConfig
from stream.errors import AddressInUse
from stream.health import Health
from stream.messages import Header, Message, PoseFrame
from stream.protocols import ComponentContext, opened
from stream.runtime.relay import Relay
from stream.wire import codec as wire
from stream.wire.topics import topic_of
from tests.examples import UNIX_NS, meta, pose, pose_frame, status


class Node:
    """A relay with a sink in memory."""

    def __init__(self) -> None:
        self.clock, self.health = FakeClock(), Health()
        context = ComponentContext("relay", clock=self.clock, health=self.health)
        self.sink = Memory(Memory.Settings(), context)
        component = ComponentConfig("memory", "memory", lambda *_: self.sink, None)
        self.relay = Relay({"memory": component}, context)
        self.relay.open()

    def forward(self, worker: int, *messages: Message) -> None:
        for message in messages:
            self.relay.forward(worker, topic_of(message), wire.encode(message))

    def published(self) -> list[Any]:
        """Everything that was published; closes the relay."""
        self.relay.close()
        return list(self.sink.messages)


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.relay.close()


def frame(ms: int, session: str = "a", source: str = "cam0", **changes: Any) -> PoseFrame:
    header = Header(source, ms, 0, UNIX_NS + ms * 1_000_000)
    return pose_frame(header=header, session=session, **changes)


def summary(frames: list[PoseFrame]) -> list[tuple[str, int, str]]:
    return [(frame.header.source, frame.header.seq, frame.session) for frame in frames]


def test_messages_of_all_workers_are_published_in_the_order_of_their_arrival(node):
    node.forward(1, meta(), frame(0))
    node.forward(2, frame(0, "b", "cam1"))
    node.forward(1, frame(20))
    first, *frames = node.published()
    assert first == meta()
    assert summary(frames) == [("cam0", 0, "a"), ("cam1", 0, "b"), ("cam0", 20, "a")]


def test_a_camera_belongs_to_one_worker_until_that_worker_ends(node):
    node.forward(1, frame(0))
    node.forward(2, frame(20, "b"), meta())
    node.relay.release(1)
    node.forward(2, frame(40, "b"))
    node.forward(1, frame(60))
    assert [message.session for message in node.published()] == ["a", "a", "b"]
    assert node.health.counter("cam0", "drop.two_workers") == 3


def test_all_people_of_an_ended_worker_are_announced_as_lost_once(node):
    persons = (pose("walker"), pose("left", state="lost"), pose("hidden", state="predicted"))
    node.forward(1, frame(0, persons=(pose("gone"),)), frame(20, persons=persons))
    node.forward(2, frame(20, "b", "cam1"))
    node.clock.advance(1.0)
    node.relay.release(1)
    node.relay.release(1)
    *_, lost = node.published()
    assert len(node.sink.messages) == 4
    assert [(person.id, person.state) for person in lost.persons] == [("walker", "lost"), ("hidden", "lost")]
    assert (lost.session, lost.header.source, lost.header.seq) == ("a", "cam0", 20)
    assert lost.header.captured_unix_ns == UNIX_NS + 1_020_000_000
    assert all(np.isnan(person.xyz).all() and not person.origin.any() for person in lost.persons)


def test_a_camera_without_people_is_released_silently(node):
    node.forward(1, frame(0, persons=()))
    node.relay.release(1)
    assert len(node.published()) == 1


def test_frames_of_a_new_worker_from_before_the_newest_frame_are_dropped(node):
    node.forward(1, frame(100))
    node.clock.advance(0.05)
    node.relay.release(1)
    node.forward(2, frame(100, "b"), frame(150, "b"), frame(151, "b"), frame(170, "b"))
    *_, lost, first, second = node.published()
    assert lost.header.captured_unix_ns == UNIX_NS + 150_000_000
    assert summary([first, second]) == [("cam0", 151, "b"), ("cam0", 170, "b")]
    assert node.health.counter("cam0", "drop.out_of_order") == 2


def test_a_new_worker_whose_camera_clock_was_set_back_is_published(node):
    node.forward(1, frame(60_000))
    node.relay.release(1)
    node.forward(2, frame(0, "b"))
    assert node.published()[-1].session == "b"


def test_poses_that_are_too_old_are_not_published_over_zeromq_but_lost_persons_are():
    clock, health = FakeClock(), Health()
    settings = ZeroMQ.Settings(port=0, max_age_ms=1000.0)
    component = ComponentConfig("zeromq", "zeromq", ZeroMQ, settings)
    relay = Relay({"zeromq": component}, ComponentContext("relay", clock=clock, health=health))
    relay.open()
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.subscribe(b"")
        subscriber.connect(relay.endpoints()["zeromq"])
        while not subscriber.poll(20):  # until it is connected
            relay.publish(status())
        persons = (pose("stays"), pose("leaves", state="lost"))
        for now_s, message in (
            (0, frame(0)),
            (5, frame(20)),
            (0, frame(40, persons=persons)),
            (0, frame(5000)),
        ):
            clock.advance(now_s)
            relay.forward(1, topic_of(message), wire.encode(message))
        poses = []
        while not poses or poses[-1]["seq"] != 5000:
            topic, payload = subscriber.recv_multipart()
            poses += [msgspec.msgpack.decode(payload)] if topic.startswith(b"pose3d/") else []
        relay.close()
    assert [(pose["seq"], [person["id"] for person in pose["persons"]]) for pose in poses] == [
        (0, ["a3f9k"]),
        (40, ["leaves"]),
        (5000, ["a3f9k"]),
    ]
    assert health.counter("zeromq", "drop.too_old") == 2


def test_an_address_that_another_program_keeps_at_the_start_is_an_error() -> None:
    clock = FakeClock()
    with opened(ZeroMQ(ZeroMQ.Settings(port=0), ComponentContext("first"))) as first:
        settings = ZeroMQ.Settings(port=int(first.endpoint.rsplit(":")[-1]))
        component = ComponentConfig("zeromq", "zeromq", ZeroMQ, settings)
        relay = Relay({"zeromq": component}, ComponentContext("relay", clock=clock))
        relay.open()
        relay.publish(status())
        clock.advance(6.0)
        with pytest.raises(AddressInUse, match="cannot be bound"):
            relay.publish(status())
        relay.close()
