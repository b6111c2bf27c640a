import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
import zmq.auth

from stream import subscribe
from stream.client import Subscriber
from stream.errors import ConfigError, SourceLost
from stream.messages import Header, Message, PoseFrame
from stream.security import ClientKeys, make_keys
from stream.wire import codec as wire
from stream.wire.topics import topic_of
from tests.examples import UNIX_NS, meta, plain, pose, pose_frame, status
from tests.golden import wire as golden

ROOT = Path(__file__).parents[2]


class Node:
    """A plain publisher; an XPUB socket, which reports subscriptions."""

    def __init__(self, address: str = "tcp://127.0.0.1:*", keys: tuple[bytes, bytes] | None = None) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.XPUB)
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.RCVTIMEO, 10_000)
        if keys:
            self.socket.set(zmq.CURVE_SERVER, 1)
            self.socket.set(zmq.CURVE_PUBLICKEY, keys[0])
            self.socket.set(zmq.CURVE_SECRETKEY, keys[1])
        self.socket.bind(address)
        self.endpoint = self.socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def await_subscriptions(self, number: int) -> list[bytes]:
        """Wait for so many subscriptions; returns their topics, sorted."""
        return sorted(self.socket.recv()[1:] for _ in range(number))

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.socket.send_multipart([topic_of(message), wire.encode(message)])

    def close(self) -> None:
        self._context.destroy(linger=1000)


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


def fetch(subscriber: Subscriber, number: int) -> list[Message | None]:
    return [subscriber.read(10.0) for _ in range(number)]  # type: ignore[misc]


def test_all_kinds_of_messages_arrive_in_order(node):
    sent = [meta(), pose_frame(1), status(), pose_frame(2, "cam1")]
    with Subscriber(node.endpoint) as subscriber:
        topics = node.await_subscriptions(3)
        node.send(*sent)
        arrived = fetch(subscriber, 4)
    assert topics == [b"meta/v1/", b"pose3d/v1/", b"status/v1/"]
    assert [type(message) for message in arrived] == [type(message) for message in sent]
    assert (arrived[0], arrived[2]) == (sent[0], sent[2])
    assert plain(arrived[3].persons) == plain(sent[3].persons)


def test_a_subscriber_knows_the_joints_whose_left_and_right_were_repaired(node):
    sent = [pose_frame(seq, persons=(pose(repaired=joints),)) for seq, joints in enumerate([(0, 1), ()])]
    with Subscriber(node.endpoint, kinds=("pose3d",)) as subscriber:
        node.await_subscriptions(1)
        node.send(*sent)
        arrived = fetch(subscriber, 2)
    assert [frame.persons[0].repaired for frame in arrived] == [(0, 1), ()]


def test_a_source_name_does_not_match_a_longer_name(node):
    poses = subscribe(node.endpoint, source="cam1", timeout_s=10)
    assert node.await_subscriptions(1) == [b"pose3d/v1/cam1/"]
    node.send(pose_frame(1, "cam10"), pose_frame(2, "cam1"))
    assert next(poses).header.seq == 2


def test_a_slow_reader_gets_the_newest_message_of_every_source(node):
    with Subscriber(node.endpoint, kinds=("pose3d",)) as subscriber:
        node.await_subscriptions(1)
        node.send(*[pose_frame(seq, source) for seq in range(50) for source in ("cam0", "cam1")])
        node.send(pose_frame(0, "end"))
        seqs: dict[str, list[int]] = {}
        while "end" not in seqs:
            for message in subscriber.newest(10.0):
                seqs.setdefault(message.header.source, []).append(message.header.seq)
    # The number of reads depends on timing; the last one always has the newest message.
    assert (seqs["cam0"][-1], seqs["cam1"][-1]) == (49, 49)
    assert seqs["cam0"] == sorted(seqs["cam0"])


def test_newest_skips_the_messages_that_have_already_arrived(node):
    with Subscriber(node.endpoint, kinds=("pose3d",)) as subscriber:
        node.await_subscriptions(1)
        node.send(*[pose_frame(seq) for seq in range(500)])
        first = subscriber.read(10.0)
        reads, last = 0, first
        while last.header.seq < 499:
            (last,) = subscriber.newest(10.0)
            reads += 1
    assert first.header.seq == 0
    assert reads < 400  # of 499; usually one or two


def frame_at(ms: int, session: str, source: str = "cam0") -> PoseFrame:
    header = Header(source, ms, 0, UNIX_NS + ms * 1_000_000)
    return pose_frame(session=session, header=header)


def test_another_session_is_followed_and_the_application_is_told(node):
    sessions: list[tuple[str, str]] = []
    poses = subscribe(node.endpoint, timeout_s=10, on_session=lambda *change: sessions.append(change))
    node.await_subscriptions(1)
    node.send(frame_at(0, "a"), frame_at(0, "c", "cam1"), frame_at(20, "b"), frame_at(40, "b"))
    received = [next(poses) for _ in range(4)]
    assert [(frame.header.source, frame.header.seq, frame.session) for frame in received] == [
        ("cam0", 0, "a"),
        ("cam1", 0, "c"),
        ("cam0", 20, "b"),
        ("cam0", 40, "b"),
    ]
    assert sessions == [("cam0", "b")]


def test_poses_of_another_session_from_before_the_newest_are_dropped(node):
    poses = subscribe(node.endpoint, timeout_s=10)
    node.await_subscriptions(1)
    node.send(
        frame_at(100, "a"), frame_at(80, "b"), frame_at(100, "b"), frame_at(120, "b"), frame_at(110, "a")
    )
    node.send(frame_at(140, "b"))
    assert [next(poses).header.seq for _ in range(3)] == [100, 120, 140]


def test_a_session_whose_camera_clock_was_set_back_is_followed(node):
    poses = subscribe(node.endpoint, timeout_s=10)
    node.await_subscriptions(1)
    node.send(frame_at(60_000, "a"), frame_at(0, "b"))
    assert [next(poses).header.seq for _ in range(2)] == [60_000, 0]


def test_subscribe_yields_only_poses(node):
    poses = subscribe(node.endpoint, newest=True, timeout_s=10)
    node.await_subscriptions(1)
    node.send(meta(), *[pose_frame(seq) for seq in range(20)])
    last = next(frame for frame in poses if frame.header.seq == 19)
    assert isinstance(last, PoseFrame)


def test_silence_is_an_error_with_advice(node):
    with pytest.raises(SourceLost, match=rf"no poses from {node.endpoint} for 0.01 s; is the node running"):
        next(subscribe(node.endpoint, timeout_s=0.01))
    with Subscriber(node.endpoint) as subscriber:
        assert (subscriber.read(0.0), subscriber.newest(0.0)) == (None, [])


def test_a_subscriber_reconnects_to_a_restarted_node(node):
    with Subscriber(node.endpoint) as subscriber:
        node.await_subscriptions(3)
        node.send(pose_frame(1))
        assert subscriber.read(10.0).header.seq == 1
        node.close()
        again = Node(node.endpoint)
        while not again.socket.poll(0):
            subscriber.read(0.02)  # ZeroMQ subscribes again while the socket is polled
        again.await_subscriptions(3)
        again.send(pose_frame(2))
        assert subscriber.read(10.0).header.seq == 2
        again.close()


def test_foreign_messages_are_skipped_counted_and_logged_once(node, caplog):
    with Subscriber(node.endpoint) as subscriber:
        node.await_subscriptions(3)
        node.socket.send_multipart([b"pose3d/v1/cam0/"])
        node.socket.send_multipart([b"pose3d/v1/cam0/", golden.MSGPACK["pose3d"], b"more"])
        node.socket.send_multipart([b"pose3d/v1/cam0/", b"\xff"])
        node.send(pose_frame(1))
        assert subscriber.read(10.0).header.seq == 1
        assert subscriber.refused == 3
    assert caplog.text.count("expected two parts, got 1") == 1


def test_a_flood_of_foreign_messages_does_not_extend_the_timeout(node):
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            node.socket.send_multipart([b"pose3d/v1/cam0/", b"junk"])

    with Subscriber(node.endpoint, kinds=("pose3d",)) as subscriber:
        node.await_subscriptions(1)
        flooding = threading.Thread(target=flood)
        flooding.start()
        assert (subscriber.read(0.05), subscriber.newest(0.05)) == (None, [])
        stop.set()
        flooding.join()
    assert subscriber.refused > 0


def test_the_age_of_poses_counts_from_their_capture():
    assert pose_frame().age_ms(UNIX_NS) == 20
    assert pose_frame().age_ms() > 1e9  # By the wall clock: the frame was captured in 2023.


def test_leaving_the_loop_disconnects(node):
    for frame in subscribe_after(node, pose_frame(3)):
        assert frame.header.seq == 3
        break
    del frame
    # Closing the socket cancels the subscription.
    assert node.socket.recv() == b"\x00pose3d/v1/"


def subscribe_after(node: Node, message: Message) -> Iterator[PoseFrame]:
    poses = subscribe(node.endpoint, timeout_s=10)
    node.await_subscriptions(1)
    node.send(message)
    return poses


def test_closing_twice_is_harmless_and_reading_then_is_an_error(node):
    subscriber = Subscriber(node.endpoint)
    subscriber.close()
    subscriber.close()
    with pytest.raises(SourceLost, match="is closed"):
        subscriber.read(0.0)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:5555", "tcp://", "smoke://signals", "tcp://127.0.0.1:x"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint):
    with pytest.raises(ConfigError, match=r"expected an address like tcp://127.0.0.1:5555"):
        Subscriber(endpoint)


def test_a_source_name_that_cannot_be_a_topic_is_refused_at_once():
    with pytest.raises(ConfigError, match="because names become topics"):
        subscribe(source="cam/0")


# CURVE


def test_a_subscriber_with_keys_gets_poses_from_a_node_with_curve(tmp_path):
    for name in ("node", "robot"):
        make_keys(tmp_path / f"{name}.key_secret", tmp_path / f"{name}.key")
    public, secret = zmq.auth.load_certificate(tmp_path / "node.key_secret")
    assert secret is not None
    node = Node(keys=(public, secret))
    keys = ClientKeys(tmp_path / "robot.key_secret", tmp_path / "node.key")
    poses = subscribe(node.endpoint, timeout_s=10, keys=keys)
    node.await_subscriptions(1)
    node.send(pose_frame(5))
    assert next(poses).header.seq == 5
    node.close()


# As a program


def test_a_subscriber_needs_numpy_pyzmq_and_msgspec_only(node):
    script = f"""
import sys

class OnlyAllowed:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {{"stream", "numpy", "zmq", "msgspec", *sys.stdlib_module_names}}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, OnlyAllowed())
from stream import subscribe
for poses in subscribe({node.endpoint!r}, timeout_s=10):
    print(poses.header.source, [person.id for person in poses.persons])
    break
print(sorted({{"torch", "cv2", "yaml", "aiomqtt", "lifter", "sources", "sinks"}} & set(sys.modules)))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as program:
        node.await_subscriptions(1)
        node.send(pose_frame())
        printed, _ = program.communicate(timeout=20)
    assert printed == "cam0 ['a3f9k']\n[]\n"


def test_ctrl_c_ends_a_waiting_subscriber(node):
    script = f"""
import stream
for poses in stream.subscribe({node.endpoint!r}):
    pass
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as program:
        node.await_subscriptions(1)
        os.kill(program.pid, signal.SIGINT)
        _, errors = program.communicate(timeout=20)
    assert errors.rstrip().endswith("KeyboardInterrupt")
