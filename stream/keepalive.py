"""TCP keepalive for ZeroMQ sockets: notices a peer whose machine has gone.

ZeroMQ has heartbeats for that, but they must not be used: a subscriber that is too slow stops reading, misses
the heartbeats, and loses a healthy connection; when it reads again while the next connection is made, libzmq
ends the whole process (`Assertion failed: _input_stopped`, libzmq issue 3937, in version 4.3.5). The kernel's
keepalive does not depend on who reads.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zmq

IDLE_S, INTERVAL_S, PROBES = 4, 2, 3  # without an answer the connection ends after IDLE + INTERVAL x PROBES


def keep_alive(socket: "zmq.Socket[bytes]") -> None:
    """Make the kernel probe silent connections of a socket; call it before connecting or binding."""
    import zmq

    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, IDLE_S)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, INTERVAL_S)
    socket.set(zmq.TCP_KEEPALIVE_CNT, PROBES)
