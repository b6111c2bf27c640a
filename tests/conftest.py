"""Fixtures shared by the tests of several packages: MQTT brokers and an untrained lifter."""

import getpass
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell that runs the tests in the background, or nohup, makes them ignore these signals; programs that
# the tests start would inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


class Mosquitto:
    """A real MQTT broker on a free loopback port, which it keeps when it is stopped and started again."""

    def __init__(
        self,
        folder: Path,
        users: dict[str, str] | None = None,
        tls: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self._binary = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if self._binary is None:
            pytest.fail("these tests need the mosquitto broker: apt-get install mosquitto", pytrace=False)
        with socket.socket() as free:
            free.bind((self.host, 0))
            self.port: int = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} {self.host}", "persistence false"]
        if users is None:
            lines.append("allow_anonymous true")
        else:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            for user, password in users.items():
                subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, password], check=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        self.certificate = folder / "certificate.pem"
        if tls:
            key = folder / "key.pem"
            _make_certificate(self.certificate, key, self.host)
            lines += [f"certfile {self.certificate}", f"keyfile {key}"]
        # A broker started by root would change to a user without access to these files.
        lines.append(f"user {getpass.getuser()}")
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the broker; returns when it accepts clients."""
        assert self._binary is not None
        self._process = subprocess.Popen(
            [self._binary, "-c", str(self._config)], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if "running" in line:
                # Keep reading the output: a full pipe would block the broker.
                threading.Thread(target=self._process.stderr.read, daemon=True).start()
                return
        pytest.fail("mosquitto did not start: " + "".join(lines), pytrace=False)

    def stop(self) -> None:
        """Kill the broker; returns when it has ended. Stopping twice is harmless."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _make_certificate(certificate: Path, key: Path, host: str) -> None:
    """Write a self-signed certificate for `host` and its key."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={host}",
    ]
    command += ["-addext", f"subjectAltName=IP:{host}", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running broker without a login."""
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def guarded_mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running broker that admits only user `robot` with password `tea-time`."""
    broker = Mosquitto(tmp_path, users={"robot": "tea-time"})
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def tls_mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running broker that accepts only TLS, with a self-signed certificate."""
    broker = Mosquitto(tmp_path, tls=True)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained lifter of 27 frames: meaningless poses, computed in a millisecond."""
    import torch

    from lifter.spec import LifterSpec, Schedule
    from lifter.weights import build, save

    torch.manual_seed(0)
    spec = LifterSpec(
        name="tiny",
        frames=27,
        in_channels=3,
        normalise="person",
        schedule=Schedule(keep=(14, 9), at=(0, 1)),
        config={"width": 16, "depth": 2, "heads": 2},
    )
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(path, build(spec), spec)
    return path
