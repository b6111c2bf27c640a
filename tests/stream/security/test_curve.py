"""CURVE on every ZeroMQ socket: the listed side gets in, a stranger stays out."""

import logging
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
import zmq.auth
from zmq.utils.monitor import recv_monitor_message

from sinks.sonic import SONIC
from sinks.zeromq import ZeroMQ as Publisher
from sources.zeromq import ZeroMQ as KeypointSource
from stream.client import Subscriber
from stream.errors import ConfigError
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, opened
from stream.security import ClientKeys, ServerKeys, client_keys, make_keys
from tests.examples import pose_frame
from tests.stream.security.keypoints import TOPIC, document

WAIT_S = 20.0  # for a message that must arrive
SILENCE_S = 0.7  # for a message that must not arrive, sent every 20 ms
CONTEXT = ComponentContext("zeromq")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Folder with the keys of `node`, `robot` and `stranger`; robot.key alone is in clients/."""
    (tmp_path / "clients").mkdir()
    for name in ("node", "stranger"):
        make_keys(tmp_path / f"{name}.key_secret", tmp_path / f"{name}.key")
    make_keys(tmp_path / "robot.key_secret", tmp_path / "clients" / "robot.key")
    return tmp_path


def server(keys: Path) -> dict[str, str]:
    return {
        "curve_secret_file": str(keys / "node.key_secret"),
        "curve_clients_folder": str(keys / "clients"),
    }


def fresh_pose_frame() -> PoseFrame:
    """A pose captured now: the sink drops old ones."""
    frame = pose_frame()
    return replace(frame, header=replace(frame.header, captured_unix_ns=time.time_ns()))


def client(keys: Path, name: str) -> ClientKeys:
    return ClientKeys(keys / f"{name}.key_secret", keys / "node.key")


# Files


def test_a_secret_key_is_private_from_the_start_and_zeromq_reads_it(tmp_path: Path) -> None:
    make_keys(tmp_path / "a.key_secret", tmp_path / "a.key")
    assert stat.S_IMODE((tmp_path / "a.key_secret").stat().st_mode) == 0o600
    public, secret = zmq.auth.load_certificate(tmp_path / "a.key_secret")
    assert secret is not None
    assert zmq.curve_public(secret) == public
    assert zmq.auth.load_certificate(tmp_path / "a.key") == (public, None)


def test_an_existing_key_is_never_replaced(tmp_path: Path) -> None:
    make_keys(tmp_path / "a.key_secret", tmp_path / "a.key")
    before = (tmp_path / "a.key_secret").read_text()
    with pytest.raises(FileExistsError):
        make_keys(tmp_path / "a.key_secret", tmp_path / "b.key")
    assert (tmp_path / "a.key_secret").read_text() == before


def test_a_secret_key_that_others_can_read_is_refused(keys: Path) -> None:
    (keys / "node.key_secret").chmod(0o644)
    with pytest.raises(ConfigError, match=r"other users can read or write .*node.key_secret \(mode 0644\)"):
        Publisher(Publisher.Settings(port=0, **server(keys)), CONTEXT)
    (keys / "robot.key_secret").chmod(0o640)
    with pytest.raises(ConfigError, match=r"run: chmod 600 .*robot.key_secret"):
        client(keys, "robot")


def test_a_public_key_in_place_of_a_secret_one_is_refused(keys: Path) -> None:
    with pytest.raises(ConfigError, match=r"node.key holds no secret key; name the .key_secret file"):
        ClientKeys(keys / "node.key", keys / "node.key")
    with pytest.raises(ConfigError, match=r"node.key holds no secret key; name the .key_secret file"):
        ServerKeys(keys / "node.key", keys / "clients")


def test_a_missing_key_is_refused_with_the_command_that_makes_it(keys: Path) -> None:
    with pytest.raises(ConfigError, match=r"CURVE keys: .*`poselift keys FOLDER` makes such files"):
        ClientKeys(keys / "robot.key_secret", keys / "nothing.key")
    with pytest.raises(ConfigError, match=r"CURVE keys: .*`poselift keys FOLDER` makes such files"):
        ServerKeys(keys / "node.key_secret", keys / "nowhere")


def test_an_empty_folder_of_clients_is_refused(keys: Path) -> None:
    (keys / "clients" / "robot.key").unlink()
    with pytest.raises(ConfigError, match=r"no .key file in .*clients, so no client could connect"):
        ServerKeys(keys / "node.key_secret", keys / "clients")


def test_half_of_a_clients_keys_is_refused(keys: Path) -> None:
    assert client_keys(None, None) is None
    with pytest.raises(ConfigError, match="expected both the secret key of this program"):
        client_keys(keys / "robot.key_secret", None)


# Addresses that other machines can reach


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Publisher, {"host": "0.0.0.0", "port": 0}),
        (Publisher, {"host": "*", "port": 0}),
        (SONIC, {"host": "::", "port": 0}),
        (KeypointSource, {"bind": True, "endpoint": "tcp://0.0.0.0:0"}),
    ],
)
def test_binding_for_the_network_needs_keys_or_an_explicit_permission(kind, settings, keys: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"could connect, unencrypted; set curve_secret_file .*insecure: tr"
    ):
        kind.Settings(**settings)
    assert kind.Settings(**settings, insecure=True).insecure
    assert not kind.Settings(**settings, **server(keys)).insecure


def test_an_insecure_node_says_so_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    settings = Publisher.Settings(host="0.0.0.0", port=0, insecure=True)
    with caplog.at_level(logging.WARNING), opened(Publisher(settings, CONTEXT)):
        assert "every machine that can reach tcp://0.0.0.0:0 can receive the poses" in caplog.text


# Poses


def received(sink: Publisher, subscriber: Subscriber, wait_s: float) -> bool:
    """Whether the subscriber gets a pose, published every 20 ms for up to `wait_s`."""
    end_s = time.monotonic() + wait_s
    while time.monotonic() < end_s:
        sink.send(fresh_pose_frame())
        if isinstance(subscriber.read(0.02), PoseFrame):
            return True
    return False


def received_from(settings: Publisher.Settings, keys: ClientKeys) -> bool:
    """Whether a subscriber with these keys soon gets a pose from a node with these settings."""
    sink = Publisher(settings, CONTEXT)
    with opened(sink), Subscriber(sink.endpoint, keys=keys) as subscriber:
        return received(sink, subscriber, SILENCE_S)


def test_a_listed_client_gets_poses_and_strangers_get_none(keys: Path) -> None:
    with opened(Publisher(Publisher.Settings(port=0, **server(keys)), CONTEXT)) as sink:
        with Subscriber(sink.endpoint, keys=client(keys, "robot")) as robot:
            assert received(sink, robot, WAIT_S)
        for stranger in (client(keys, "stranger"), None):
            with Subscriber(sink.endpoint, keys=stranger) as subscriber:
                assert not received(sink, subscriber, SILENCE_S)


def test_a_client_gets_no_poses_of_a_node_with_another_key(keys: Path) -> None:
    impostor = {**server(keys), "curve_secret_file": str(keys / "stranger.key_secret")}
    assert not received_from(Publisher.Settings(port=0, **impostor), client(keys, "robot"))


def test_a_client_with_keys_gets_no_poses_of_a_node_without(keys: Path) -> None:
    assert not received_from(Publisher.Settings(port=0), client(keys, "robot"))


# Keypoints


@contextmanager
def sender(address: str, bind: bool, keys: ClientKeys | None = None) -> Iterator["zmq.Socket[bytes]"]:
    """A publisher of keypoints, as another program would be."""
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.set(zmq.LINGER, 0)
        if keys is not None:
            keys.apply(socket)
        (socket.bind if bind else socket.connect)(address)
        yield socket


def delivered(source: KeypointSource, socket: "zmq.Socket[bytes]", wait_s: float) -> bool:
    """Whether the source gets keypoints, published every 20 ms for up to `wait_s`."""
    end_s = time.monotonic() + wait_s
    while time.monotonic() < end_s:
        socket.send_multipart([TOPIC, document()])
        if source.read(0.02) is not None:
            return True
    return False


def test_a_source_that_binds_accepts_keypoints_of_listed_publishers_alone(keys: Path) -> None:
    settings = KeypointSource.Settings(
        bind=True, endpoint="tcp://127.0.0.1:0", timeout_s=60.0, **server(keys)
    )
    with opened(KeypointSource(settings, CONTEXT)) as source:
        with sender(source.endpoint, False, client(keys, "robot")) as socket:
            assert delivered(source, socket, WAIT_S)
        for stranger in (client(keys, "stranger"), None):
            with sender(source.endpoint, False, stranger) as socket:
                assert not delivered(source, socket, SILENCE_S)


def test_a_source_that_connects_accepts_keypoints_of_the_named_publisher_alone(keys: Path) -> None:
    node = ServerKeys(keys / "node.key_secret", keys / "clients")
    stranger = ServerKeys(keys / "stranger.key_secret", keys / "clients")
    for server_keys, wait_s in ((node, WAIT_S), (stranger, SILENCE_S)):
        with publisher_with(server_keys) as socket:
            settings = KeypointSource.Settings(
                endpoint=socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0"),
                timeout_s=60.0,
                curve_secret_file=str(keys / "robot.key_secret"),
                curve_server_file=str(keys / "node.key"),
            )
            with opened(KeypointSource(settings, CONTEXT)) as source:
                assert delivered(source, socket, wait_s) == (server_keys is node)


@contextmanager
def publisher_with(keys: ServerKeys) -> Iterator["zmq.Socket[bytes]"]:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket, ExitStack() as resources:
        socket.set(zmq.LINGER, 0)
        keys.apply(socket, resources)
        socket.bind("tcp://127.0.0.1:0")
        yield socket


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"curve_secret_file": "a"}, "both curve_secret_file and curve_server_file"),
        ({"curve_server_file": "a"}, "both curve_secret_file and curve_server_file"),
        ({"curve_clients_folder": "a"}, "curve_clients_folder: expected only with bind"),
        ({"bind": True, "curve_server_file": "a"}, "curve_server_file: expected only without bind"),
        ({"bind": True, "curve_secret_file": "a"}, "both curve_secret_file and curve_clients_folder"),
    ],
)
def test_an_incomplete_set_of_keys_is_refused(settings, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        KeypointSource.Settings(**settings)


# SONIC


def test_the_stream_for_a_robot_admits_listed_clients_alone(keys: Path) -> None:
    with opened(SONIC(SONIC.Settings(port=0, **server(keys)), CONTEXT)) as sink:
        for name, succeeded in (("robot", True), ("stranger", False)):
            with zmq.Context() as context, context.socket(zmq.SUB) as socket:
                client(keys, name).apply(socket)
                monitor = socket.get_monitor_socket(
                    zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
                    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                )  # fmt: skip
                socket.connect(sink.endpoint)
                assert monitor.poll(WAIT_S * 1000)
                event = recv_monitor_message(monitor)["event"]
                assert (event == zmq.EVENT_HANDSHAKE_SUCCEEDED) == succeeded
                socket.disable_monitor()
                socket.close(0)
