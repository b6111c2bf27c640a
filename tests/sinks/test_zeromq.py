import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq
import zmq.auth
from zmq.utils.monitor import recv_monitor_message

from sinks.zeromq import ZeroMQ
from stream.clock import FakeClock
from stream.errors import ConfigError, SinkUnavailable
from stream.health import Health
from stream.messages import Message, Status
from stream.protocols import ComponentContext, opened
from stream.security import make_keys
from tests.examples import UNIX_NS, meta, pose_frame, status

ANY_PORT = ZeroMQ.Settings(port=0, max_age_ms=None)  # the example poses are years old


@pytest.fixture
def subscribe() -> Iterator[Callable[..., zmq.Socket]]:
    """Connects plain SUB sockets, without any code of poselift."""
    context = zmq.Context()

    def connect(endpoint: str, topic: bytes = b"", **options: bytes | int) -> zmq.Socket:
        subscriber = context.socket(zmq.SUB)
        subscriber.set(
            zmq.RCVTIMEO, 10_000
        )  # a message that does not arrive fails the test instead of hanging it
        for name, value in options.items():
            subscriber.set(getattr(zmq, name), value)
        subscriber.subscribe(topic)
        subscriber.connect(endpoint)
        return subscriber

    yield connect
    context.destroy(linger=0)


def first_received(sink: ZeroMQ, subscriber: zmq.Socket, message: Message) -> list[bytes]:
    """Send until the subscriber is connected; returns the parts of the first message that arrives."""
    for _ in range(500):
        sink.send(message)
        if subscriber.poll(20):
            parts: list[bytes] = subscriber.recv_multipart()
            while subscriber.poll(50):
                subscriber.recv_multipart()
            return parts
    pytest.fail("nothing arrived")


def test_poses_arrive_in_two_parts_that_another_library_reads(subscribe):
    with opened(ZeroMQ(ANY_PORT, ComponentContext("zeromq", clock=FakeClock()))) as sink:
        subscriber = subscribe(sink.endpoint)
        topic, payload = first_received(sink, subscriber, pose_frame(published_unix_ns=0))
    document = msgpack.unpackb(payload)
    person = document["persons"][0]
    assert topic == b"pose3d/v1/cam0/"
    assert (document["v"], document["source"], document["seq"]) == (1, "cam0", 7)
    assert (document["t_publish_ns"], document["lat_ms"]["post"]) == (UNIX_NS, 9.0)
    assert np.frombuffer(person["xyz"], "<f4").reshape(-1, 3)[0].tolist() == [0.5, -0.25, 2]
    assert (person["id"], list(person["origin"])) == ("a3f9k", [1, 0])


def test_every_kind_of_message_has_its_own_topic(subscribe):
    with opened(ZeroMQ(ANY_PORT, ComponentContext("zeromq"))) as sink:
        subscriber = subscribe(sink.endpoint)
        first_received(sink, subscriber, meta())
        for message in (pose_frame(source="cam10"), meta("cam1"), status()):
            sink.send(message)
        arrived = [subscriber.recv_multipart() for _ in range(3)]
    assert [(topic, msgpack.unpackb(payload)["schema"]) for topic, payload in arrived] == [
        (b"pose3d/v1/cam10/", "pose3d"),
        (b"meta/v1/cam1/", "meta"),
        (b"status/v1/poselift/", "status"),
    ]


def test_a_topic_selects_exactly_one_source(subscribe):
    with opened(ZeroMQ(ANY_PORT, ComponentContext("zeromq"))) as sink:
        subscriber = subscribe(sink.endpoint, b"pose3d/v1/cam1/")
        first_received(sink, subscriber, pose_frame(source="cam1"))
        for source in ("cam10", "cam1"):
            sink.send(pose_frame(12, source))
        _, payload = subscriber.recv_multipart()
    assert (msgpack.unpackb(payload)["source"], msgpack.unpackb(payload)["seq"]) == ("cam1", 12)


def test_closing_sends_the_queued_messages(subscribe):
    with opened(ZeroMQ(ANY_PORT, ComponentContext("zeromq"))) as sink:
        subscriber = subscribe(sink.endpoint)
        first_received(sink, subscriber, meta())
        for seq in range(4):
            sink.send(pose_frame(seq))
    arrived = [msgpack.unpackb(subscriber.recv_multipart()[1])["seq"] for _ in range(4)]
    assert arrived == list(range(4))


def test_a_burst_longer_than_the_queue_arrives_completely(subscribe):
    health = Health()
    with opened(ZeroMQ(ANY_PORT, ComponentContext("zeromq", health=health))) as sink:
        subscriber = subscribe(sink.endpoint)
        first_received(sink, subscriber, meta())
        for seq in range(100):
            sink.send(pose_frame(seq))
    arrived = [msgpack.unpackb(subscriber.recv_multipart()[1])["seq"] for _ in range(100)]
    assert (arrived, health.dropped("zeromq")) == (list(range(100)), 0)


def test_a_slow_subscriber_is_counted_each_time_and_the_others_get_every_message(subscribe):
    health = Health()
    with opened(ZeroMQ(ANY_PORT, ComponentContext("zeromq", health=health))) as sink:
        slow = subscribe(sink.endpoint, RCVHWM=1, RCVBUF=4096)
        first_received(sink, slow, meta())
        fast = subscribe(sink.endpoint, b"status/", RCVHWM=0)
        first_received(sink, fast, status())
        for episode in (1, 2):
            for number in range(200):
                sink.send(Status("poselift", "6f1c", number, {"much": "x" * 500_000}))
                assert fast.poll(5000), "the fast subscriber lost a message"
                assert msgpack.unpackb(fast.recv_multipart()[1])["t_publish_ns"] == number
                if health.dropped("zeromq") == episode:
                    break
            while slow.poll(500):  # the slow subscriber catches up
                slow.recv_multipart()
    assert health.counter("zeromq", "drop.subscriber_slow") == 2


def test_publishing_without_a_subscriber_counts_no_drop():
    health = Health()
    with opened(ZeroMQ(ANY_PORT, ComponentContext("zeromq", health=health))) as sink:
        for seq in range(100):
            sink.send(pose_frame(seq))
    assert health.dropped("zeromq") == 0


def test_a_taken_port_is_named_in_the_error():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SinkUnavailable, match=rf"port {port} of 127\.0\.0\.1 cannot be bound"):
            ZeroMQ(ZeroMQ.Settings(port=port), ComponentContext("zeromq")).open()
    with opened(ZeroMQ(ZeroMQ.Settings(port=port), ComponentContext("zeromq"))) as sink:
        assert sink.endpoint == f"tcp://127.0.0.1:{port}"


def test_closing_twice_is_harmless_and_frees_the_port():
    with opened(ZeroMQ(ANY_PORT, ComponentContext("zeromq"))) as sink:
        endpoint = sink.endpoint
        sink.close()
        with pytest.raises(SinkUnavailable, match="is not open"):
            sink.send(status())
    with opened(sink):
        assert sink.endpoint == endpoint


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"port": 70000}, "port: expected 1 to 65535"),
        ({"queue": 0}, "queue: expected a number from 1"),
        ({"curve_secret_file": "robot.key_secret"}, "CURVE needs both"),
    ],
)
def test_wrong_settings_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        ZeroMQ.Settings(**settings)


def test_a_host_that_is_no_interface_of_this_machine_is_refused():
    with pytest.raises(ConfigError, match="expected the address of one of this machine's interfaces"):
        ZeroMQ(ZeroMQ.Settings(host="no such host", port=0, insecure=True), ComponentContext("zeromq")).open()


def test_publishing_on_all_interfaces_without_keys_logs_a_warning(caplog):
    with opened(ZeroMQ(ZeroMQ.Settings(host="0.0.0.0", port=0, insecure=True), ComponentContext("zeromq"))):
        assert "every machine that can reach tcp://0.0.0.0:0 can receive the poses" in caplog.text
    caplog.clear()
    with opened(ZeroMQ(ANY_PORT, ComponentContext("zeromq"))):
        assert caplog.text == ""


# CURVE


@pytest.fixture
def guarded(tmp_path: Path) -> ZeroMQ.Settings:
    """Settings that admit `robot`; the keys of `robot`, `stranger` and `node` are in tmp_path."""
    (tmp_path / "clients").mkdir()
    for name in ("node", "robot", "stranger"):
        make_keys(tmp_path / f"{name}.key_secret", tmp_path / f"{name}.key")
    (tmp_path / "clients" / "robot.key").write_bytes((tmp_path / "robot.key").read_bytes())
    return ZeroMQ.Settings(
        max_age_ms=None,
        port=0,
        curve_secret_file=str(tmp_path / "node.key_secret"),
        curve_clients_folder=str(tmp_path / "clients"),
    )


def keys(folder: Path, name: str) -> dict[str, bytes]:
    public, secret = zmq.auth.load_certificate(folder / f"{name}.key_secret")
    server, _ = zmq.auth.load_certificate(folder / "node.key")
    assert secret is not None
    return {"CURVE_PUBLICKEY": public, "CURVE_SECRETKEY": secret, "CURVE_SERVERKEY": server}


def handshake(subscriber: zmq.Socket, endpoint: str) -> int:
    """Connect; returns the event with which the handshake ends."""
    monitor = subscriber.get_monitor_socket()
    subscriber.connect(endpoint)
    ends = {
        zmq.EVENT_HANDSHAKE_SUCCEEDED,
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    }
    while monitor.poll(10_000):
        event = recv_monitor_message(monitor)["event"]
        if event in ends:
            return int(event)
    pytest.fail("the handshake did not end")


def test_a_client_with_a_listed_key_gets_poses(subscribe, guarded, tmp_path):
    with opened(ZeroMQ(guarded, ComponentContext("zeromq"))) as sink:
        robot = subscribe(sink.endpoint, **keys(tmp_path, "robot"))
        topic, _ = first_received(sink, robot, pose_frame())
        again = subscribe(sink.endpoint, **keys(tmp_path, "robot"))
        assert handshake(again, sink.endpoint) == zmq.EVENT_HANDSHAKE_SUCCEEDED
        again.disable_monitor()
    assert topic == b"pose3d/v1/cam0/"
    assert [thread.name for thread in threading.enumerate() if "authenticator" in thread.name] == []


@pytest.mark.parametrize("name", ["stranger", None])
def test_a_client_with_another_key_or_none_is_refused(guarded, tmp_path, name):
    with zmq.Context() as context, opened(ZeroMQ(guarded, ComponentContext("zeromq"))) as sink:
        subscriber = context.socket(zmq.SUB)
        for option, value in (keys(tmp_path, name) if name else {}).items():
            subscriber.set(getattr(zmq, option), value)
        assert handshake(subscriber, sink.endpoint) != zmq.EVENT_HANDSHAKE_SUCCEEDED
        context.destroy(linger=0)


def test_missing_keys_are_named_in_the_error(guarded, tmp_path):
    (tmp_path / "clients" / "robot.key").unlink()
    with pytest.raises(ConfigError, match=r"no .key file in .*clients, so no client could connect"):
        ZeroMQ(guarded, ComponentContext("zeromq"))
    (tmp_path / "node.key_secret").unlink()
    with pytest.raises(ConfigError, match=r"CURVE keys: .*`poselift keys FOLDER` makes such files"):
        ZeroMQ(guarded, ComponentContext("zeromq"))
