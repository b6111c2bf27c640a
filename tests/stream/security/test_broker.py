"""Login at a real MQTT broker with passwords and client certificates."""

import asyncio
import errno
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sources.mqtt import MQTT
from stream.errors import ConfigError, SourceUnavailable
from stream.protocols import ComponentContext, opened
from stream.security import BrokerSettings, ignore_closed_sockets, password, tls_context, with_hint
from tests.conftest import Mosquitto


def test_the_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEA", "tea-time")
    robot = BrokerSettings(username="robot", password_env="TEA")
    assert (password(robot), password(BrokerSettings(password_env="TEA"))) == ("tea-time", None)
    monkeypatch.delenv("TEA")
    with pytest.raises(
        ConfigError, match="the password of 'robot' in the environment variable TEA, which is not"
    ):
        password(robot)


def test_the_password_comes_from_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("tea-time\n")
    file.chmod(0o600)
    robot = BrokerSettings(username="robot", password_file=str(file))
    assert password(robot) == "tea-time"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="mqtt password_file: other users can read or write"):
        password(robot)


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match=f"mqtt port: expected 1 to 65535, got {port}"):
        BrokerSettings(port=port)


def test_half_a_certificate_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs both cert_file and key_file"):
        BrokerSettings(tls=True, cert_file="robot.pem")
    with pytest.raises(ConfigError, match="are used with TLS only; set tls: true"):
        BrokerSettings(cert_file="robot.pem", key_file="robot.key")


def test_only_a_refused_login_gets_a_hint() -> None:
    assert with_hint(OSError("Not authorised"), "TEA") == "Not authorised; check username and TEA"
    assert with_hint(TimeoutError(), "TEA") == "TimeoutError"


# Client certificates


class Authority:
    """A certificate authority that signs certificates of clients, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._openssl("req", "-x509", "-subj", "/CN=authority", "-out", "ca.pem", "-keyout", "ca.key")

    def _openssl(self, command: str, *arguments: str) -> None:
        new = ["-newkey", "rsa:2048", "-nodes"] if command == "req" else []
        subprocess.run(
            ["openssl", command, *new, *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )

    def sign(self, name: str) -> dict[str, str]:
        """Settings with a new certificate of `name`."""
        self._openssl("req", "-subj", f"/CN={name}", "-out", f"{name}.csr", "-keyout", f"{name}.key")
        signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        self._openssl("x509", "-req", "-in", f"{name}.csr", *signed_by, "-out", f"{name}.pem")
        (self.folder / f"{name}.key").chmod(0o600)
        return {
            "cert_file": str(self.folder / f"{name}.pem"),
            "key_file": str(self.folder / f"{name}.key"),
        }


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def sealed_mosquitto(tmp_path: Path, authority: Authority) -> Iterator[Mosquitto]:
    """A running broker that admits only clients with a certificate of the authority."""
    broker = Mosquitto(tmp_path, tls=True)
    with (tmp_path / "mosquitto.conf").open("a") as config:
        config.write(f"cafile {authority.folder / 'ca.pem'}\nrequire_certificate true\n")
    broker.start()
    yield broker
    broker.stop()


def source(broker: Mosquitto, **certificate: str) -> MQTT:
    settings = MQTT.Settings(port=broker.port, tls=True, ca_file=str(broker.certificate), **certificate)
    return MQTT(settings, ComponentContext("network"))


def test_a_broker_admits_the_client_with_a_certificate_and_keeps_strangers_out(
    sealed_mosquitto: Mosquitto, authority: Authority, tmp_path: Path
) -> None:
    with opened(source(sealed_mosquitto, **authority.sign("robot"))) as robot:
        assert robot.read(0) is None
    stranger = Authority(tmp_path / "stranger").sign("robot")
    for certificate in (stranger, {}):
        with pytest.raises(SourceUnavailable):
            source(sealed_mosquitto, **certificate).open()


def test_a_certificate_whose_key_others_can_read_is_refused(authority: Authority) -> None:
    certificate = authority.sign("robot")
    (authority.folder / "robot.key").chmod(0o644)
    with pytest.raises(ConfigError, match="mqtt key_file: other users can read or write"):
        tls_context(BrokerSettings(tls=True, **certificate))


def test_a_certificate_with_the_key_of_another_is_refused(authority: Authority) -> None:
    files = {**authority.sign("robot"), "key_file": authority.sign("stranger")["key_file"]}
    with pytest.raises(ConfigError, match=r"mqtt cert_file: .*robot.pem and .* are no certificate with its"):
        tls_context(BrokerSettings(tls=True, **files))


def test_only_a_socket_that_was_closed_is_ignored_by_the_exception_handler(caplog: pytest.LogCaptureFixture):
    def fail(error: Exception) -> None:
        raise error

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(ignore_closed_sockets)
        with socket.socket() as closed:
            number = closed.fileno()
        loop.call_soon(loop.add_writer, number, print)  # as aiomqtt does when the broker is killed
        loop.call_soon(fail, OSError(errno.EPIPE, "another error"))
        runner.run(asyncio.sleep(0.01))
    assert [
        record.exc_info[1].args for record in caplog.records if record.exc_info and record.exc_info[1]
    ] == [(errno.EPIPE, "another error")]
