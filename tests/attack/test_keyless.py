"""A stranger without a key sends a message of 4 GB in place of a handshake: no socket takes it in."""

import socket
import struct
from pathlib import Path

import pytest
import zmq

from sinks.zeromq import ZeroMQ as ZeroMQSink
from sources.zeromq import ZeroMQ as ZeroMQSource
from stream.clock import SystemClock
from stream.protocols import ComponentContext, opened
from stream.runtime.worker import Order
from stream.runtime.worker_host import WorkerHost
from stream.security import make_keys

MESSAGE_BYTES = 4_000_000_000
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)


def is_cut_off(endpoint: str) -> bool:
    """Whether the socket at an endpoint closes the connection long before the message has come."""
    port = int(endpoint.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stranger:
        stranger.sendall(GREETING)
        stranger.recv(len(GREETING), socket.MSG_WAITALL)
        try:
            stranger.sendall(b"\x06" + struct.pack(">Q", MESSAGE_BYTES))
            for _ in range(100):
                stranger.sendall(bytes(1_000_000))
        except OSError:
            return True
    return False


@pytest.fixture
def curve(tmp_path: Path) -> dict[str, str]:
    make_keys(tmp_path / "node.key_secret", tmp_path / "node.key")
    (tmp_path / "clients").mkdir()
    make_keys(tmp_path / "robot.key_secret", tmp_path / "clients" / "robot.key")
    return {
        "curve_secret_file": str(tmp_path / "node.key_secret"),
        "curve_clients_folder": str(tmp_path / "clients"),
    }


def test_a_sink_cuts_off_a_stranger(curve: dict[str, str]) -> None:
    with opened(ZeroMQSink(ZeroMQSink.Settings(port=0, **curve), ComponentContext("sink"))) as sink:
        assert is_cut_off(sink.endpoint)


def test_a_source_cuts_off_a_stranger(curve: dict[str, str]) -> None:
    settings = ZeroMQSource.Settings(endpoint="tcp://127.0.0.1:*", bind=True, **curve)
    with opened(ZeroMQSource(settings, ComponentContext("source"))) as source:
        assert is_cut_off(source.endpoint)


def test_a_supervisor_of_workers_cuts_off_a_stranger() -> None:
    class Host(WorkerHost):
        place = ""
        exit_code = None

        def order(self, order: Order) -> None:
            pass

        def kill(self) -> None:
            self.socket.close(linger=0)

    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    host = Host(0, "", context, SystemClock())
    public, secret = zmq.curve_keypair()
    for option, value in (
        (zmq.CURVE_SERVER, 1),
        (zmq.CURVE_PUBLICKEY, public),
        (zmq.CURVE_SECRETKEY, secret),
    ):
        host.socket.set(option, value)
    host.socket.bind("tcp://127.0.0.1:*")
    try:
        assert is_cut_off(host.socket.get_string(zmq.LAST_ENDPOINT))
    finally:
        host.kill()
        context.term()
