"""Messages to systemd, received with a datagram socket as systemd does."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.runtime.notify import Notifier

WAIT_S = 60.0


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The receiving end of NOTIFY_SOCKET, at tmp_path/notify."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(WAIT_S)
        yield receiver


def test_states_arrive_as_datagrams(systemd: socket.socket):
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "2500000"})
    notifier.ready("tcp://127.0.0.1:5555")
    notifier.alive("30 frames")
    notifier.stopping()
    assert [systemd.recv(1000) for _ in range(3)] == [
        b"READY=1\nSTATUS=tcp://127.0.0.1:5555",
        b"WATCHDOG=1\nSTATUS=30 frames",
        b"STOPPING=1",
    ]
    assert notifier.watchdog_s == 2.5


def test_an_abstract_address_begins_with_an_at_sign():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0poselift-test-{os.getpid()}")
        Notifier({"NOTIFY_SOCKET": f"@poselift-test-{os.getpid()}"}).stopping()
        receiver.settimeout(WAIT_S)
        assert receiver.recv(100) == b"STOPPING=1"


def test_nothing_is_sent_without_a_supervisor_or_after_its_end():
    Notifier({}).ready("nothing listens")
    Notifier({"NOTIFY_SOCKET": "/nowhere/notify"}).alive("nothing listens")
    assert Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_a_running_service_reports_ready_alive_and_stopping(
    systemd: socket.socket, tmp_path: Path, tiny_weights: Path
):
    config = tmp_path / "service.yaml"
    config.write_text(
        "sources: {walkers: {type: synthetic}}\n"
        f"lifter: {{weights: {tiny_weights}, device: cpu}}\n"
        "sinks: {metrics: {type: prometheus, port: 0}, poses: {type: memory}}\n"
    )
    service = subprocess.Popen(
        [sys.executable, "-m", "stream.cli", "run", str(config), "--log", "json"],
        env={**os.environ, "NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "60000000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert systemd.recv(10_000).startswith(b"READY=1\nSTATUS=metrics: http://127.0.0.1:")
        assert systemd.recv(10_000).startswith(b"WATCHDOG=1\nSTATUS=")
        service.send_signal(signal.SIGTERM)
        while (state := systemd.recv(10_000)) != b"STOPPING=1":
            assert state.startswith(b"WATCHDOG=1")
        out, _ = service.communicate(timeout=WAIT_S)
    finally:
        service.kill()
    assert (service.returncode, out) == (0, "")
