"""Messages to systemd: the service is ready, reloading, alive, or stopping (sd_notify(3)).

systemd starts a service of `Type=notify` with the address of a datagram socket in NOTIFY_SOCKET and, with
`WatchdogSec=`, the microseconds between two signs of life in WATCHDOG_USEC.
"""

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends states to systemd; does nothing when no supervisor asked for them.

    watchdog_s: seconds after which systemd restarts a silent service; None without a watchdog.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the abstract namespace, whose addresses begin with a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        for_us = pid in ("", str(os.getpid()))
        self.watchdog_s = int(usec) / 1e6 if usec.isdecimal() and for_us else None

    def ready(self, status: str) -> None:
        """The service has started; `status` is a line for `systemctl status`."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The config is read again; `ready` follows in any case."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self, status: str) -> None:
        """The threads of the service run."""
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(state.encode(), self._address)
        except OSError:
            pass  # The supervisor is gone, and with it the reader of any message about that.
