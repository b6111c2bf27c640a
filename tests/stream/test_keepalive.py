"""ZeroMQ's heartbeats would end slow subscribers together with their process; TCP keepalive does not."""

import socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import zmq

from sinks.zeromq import ZeroMQ as ZeroMQSink
from sources.zeromq import ZeroMQ as ZeroMQSource
from stream.client import Subscriber
from stream.keepalive import IDLE_S, INTERVAL_S, PROBES, keep_alive
from stream.protocols import ComponentContext, opened

HEARTBEAT_S = 3.0  # longer than the interval of any heartbeat that was ever set
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\x00" + bytes(31)


def commands_of(peer: socket.socket, own_type: bytes) -> bytes:
    """Everything that a ZeroMQ peer sends within HEARTBEAT_S after the handshake, spoken by hand."""
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(own_type)) + own_type
    peer.sendall(GREETING)
    peer.recv(64, socket.MSG_WAITALL)
    peer.sendall(b"\x04" + bytes([len(ready)]) + ready)
    peer.settimeout(HEARTBEAT_S)
    received = b""
    while True:
        try:
            data = peer.recv(4096)
        except TimeoutError:
            return received
        assert data, "the peer has closed the connection"
        received += data


def test_the_kernel_probes_silent_connections():
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        keep_alive(subscriber)
        options = (zmq.TCP_KEEPALIVE, zmq.TCP_KEEPALIVE_IDLE, zmq.TCP_KEEPALIVE_INTVL, zmq.TCP_KEEPALIVE_CNT)
        assert [subscriber.get(option) for option in options] == [1, IDLE_S, INTERVAL_S, PROBES]


def source_at(endpoint: str) -> AbstractContextManager[object]:
    return opened(ZeroMQSource(ZeroMQSource.Settings(endpoint=endpoint), ComponentContext("net")))


@pytest.mark.parametrize("connect", [Subscriber, source_at])
def test_subscribers_send_no_heartbeats(connect: Callable[[str], AbstractContextManager[object]]):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60.0)
        with connect(f"tcp://127.0.0.1:{server.getsockname()[1]}"):
            peer, _ = server.accept()
            with peer:
                received = commands_of(peer, b"PUB")
    assert b"READY" in received
    assert b"PING" not in received


def test_publishers_send_no_heartbeats():
    sink = ZeroMQSink(ZeroMQSink.Settings(port=0), ComponentContext("zeromq"))
    with opened(sink):
        port = int(sink.endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60.0) as peer:
            received = commands_of(peer, b"SUB")
    assert b"READY" in received
    assert b"PING" not in received
