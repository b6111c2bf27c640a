"""A subscriber that speaks ZMTP 3.0 by hand, since libzmq's own crashes on very long subscriptions."""

import socket
import struct

_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\x00" + bytes(31)


class RawSubscriber:
    """Connects to a PUB socket at tcp://127.0.0.1:`port` and sends subscriptions of any kind."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"SUB"
        self._socket.sendall(_GREETING)
        self._socket.recv(64, socket.MSG_WAITALL)
        self._socket.sendall(b"\x04" + bytes([len(ready)]) + ready)
        self._socket.recv(1024)  # the READY command of the other side

    def subscribe(self, topic: bytes) -> bool:
        """Send one subscription; False when the connection is closed."""
        try:
            self._socket.sendall(b"\x02" + struct.pack(">Q", len(topic) + 1) + b"\x01" + topic)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()
