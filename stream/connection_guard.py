"""Limit on the bytes that the TCP connections of a ZeroMQ socket may bring in.

libzmq bounds a part of a message (ZMQ_MAXMSGSIZE), but not the number of subscriptions, each byte of which
takes about 100 bytes of memory, nor the number of parts of one message. The guard therefore reads how many
bytes the kernel has received on each connection, and shuts down the busiest connection when there are too
many. Linux only; on other systems it does nothing.
"""

import contextlib
import os
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING

from stream.clock import Clock
from stream.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    import zmq

TICK_S = 0.02  # between two checks while much comes in
# Between two checks while little comes in: every check wakes a thread. A flood has this long before the first
# check that sees it.
QUIET_TICK_S = 0.1
# For a second after a new connection: a stranger that is shut out connects again and floods at once.
NEW_TICK_S, NEW_S = 0.004, 1.0
_QUIET_SHARE = 1 / 8  # of a limit; below it little comes in
_MAX_CHECKS = 64  # connections per tick, so that a thousand subscribers cost no more than these
_BYTES_RECEIVED = struct.Struct("Q")  # tcpi_bytes_received of Linux's struct tcp_info
_BYTES_RECEIVED_OFFSET = 128


class ConnectionGuard:
    """Watches the connections of `zmq_socket`; start it before bind or connect, close it before the socket.

    connection_bytes: what one connection may bring in; None for any amount. total_bytes: what all connections
    together may bring in. Both are refilled by `bytes_per_s`, and the total by `allow`, which a reader calls
    for the messages it has got.
    """

    def __init__(
        self,
        zmq_socket: "zmq.Socket[bytes]",
        name: str,
        clock: Clock,
        connection_bytes: int | None,
        total_bytes: int,
        bytes_per_s: float,
    ) -> None:
        import zmq

        self.refused = 0  # connections shut down
        self._socket = zmq_socket
        self._name = name
        self._clock = clock
        self._log = RateLimitedLog(clock)
        self._connection_bytes = connection_bytes
        self._total_bytes = total_bytes
        self._bytes_per_s = bytes_per_s
        self._allowed = 0  # written by the reader's thread only
        self._connections: dict[int, _Connection] = {}  # by the file descriptor that libzmq uses
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        if sys.platform == "linux":
            events = zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED
            self._monitor = zmq_socket.get_monitor_socket(events)
            self._thread = threading.Thread(target=self._run, name=f"guard:{name}", daemon=True)

    def start(self) -> None:
        if self._thread is not None:
            self._thread.start()

    def close(self) -> None:
        """End the thread and release its view of the connections."""
        self._stop.set()
        if self._thread is not None:
            if self._thread.ident is not None:
                self._thread.join()
            self._socket.disable_monitor()
            assert self._monitor is not None
            self._monitor.close()
            self._thread = None

    def allow(self, size: int) -> None:
        """Refill the total by the bytes of a message that the reader has got."""
        self._allowed += size

    def _run(self) -> None:
        ticks_ns = self._clock.now_ns()
        received = allowed = 0
        tick_s, new_until_ns = TICK_S, 0
        try:
            while not self._stop.is_set():
                is_new = self._follow_events(tick_s)
                now_ns = self._clock.now_ns()
                new_until_ns = now_ns + round(NEW_S * 1e9) if is_new else new_until_ns
                refill = (now_ns - ticks_ns) / 1e9 * self._bytes_per_s
                ticks_ns = now_ns
                received += self._check_connections(refill)
                received = max(0, received - round(refill) - (self._allowed - allowed))
                allowed = self._allowed
                if received > self._total_bytes:
                    self._shut_busiest()
                    received = 0
                quiet = received < self._total_bytes * _QUIET_SHARE and self._connections_are_quiet()
                tick_s = NEW_TICK_S if now_ns < new_until_ns else QUIET_TICK_S if quiet else TICK_S
        finally:
            for connection in self._connections.values():
                connection.socket.close()
            self._connections.clear()

    def _follow_events(self, timeout_s: float) -> bool:
        """Wait for connections that open or close; True when one has opened."""
        import zmq
        from zmq.utils.monitor import recv_monitor_message

        assert self._monitor is not None
        is_new = False
        with contextlib.suppress(zmq.ZMQError):  # the socket is closing
            while self._monitor.poll(round(timeout_s * 1e3)):
                timeout_s = 0.0
                event = recv_monitor_message(self._monitor, zmq.NOBLOCK)
                descriptor = event["value"]
                if previous := self._connections.pop(descriptor, None):
                    previous.socket.close()
                if event["event"] in (zmq.EVENT_ACCEPTED, zmq.EVENT_CONNECTED):
                    is_new = True
                    # A duplicate stays valid when libzmq closes its own.
                    with contextlib.suppress(OSError):
                        self._connections[descriptor] = _Connection(socket.socket(fileno=os.dup(descriptor)))
        return is_new

    def _connections_are_quiet(self) -> bool:
        limit = self._connection_bytes
        if limit is None:
            return True
        return all(connection.level < limit * _QUIET_SHARE for connection in self._connections.values())

    def _check_connections(self, refill: float) -> int:
        """Bytes that came since the last check of the next connections; shuts those above their limit."""
        total = 0
        for descriptor in list(self._connections)[:_MAX_CHECKS]:
            connection = self._connections.pop(descriptor)
            self._connections[descriptor] = connection  # now the last in turn
            total += connection.update(refill)
            if self._connection_bytes is not None and connection.level > self._connection_bytes:
                self._shut(connection)
        return total

    def _shut_busiest(self) -> None:
        if self._connections:
            self._shut(max(self._connections.values(), key=lambda connection: connection.level))

    def _shut(self, connection: "_Connection") -> None:
        self.refused += 1
        connection.level = 0
        self._log.warning(
            "connection", "%s: closed a connection that sent too many bytes at once", self._name
        )
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)


class _Connection:
    """One TCP connection; level: bytes received, less those refilled."""

    def __init__(self, duplicate: socket.socket) -> None:
        self.socket = duplicate
        self.level = 0.0
        self._received = 0

    def update(self, refill: float) -> int:
        """Read the counter of the kernel; returns the bytes that came since the last time."""
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            (received,) = _BYTES_RECEIVED.unpack_from(info, _BYTES_RECEIVED_OFFSET)
        except (OSError, struct.error):  # not TCP, or an old kernel
            return 0
        new, self._received = received - self._received, received
        self.level = max(0.0, self.level + new - refill)
        return int(new)
