from pathlib import Path

import pytest
import zmq
import zmq.auth

from stream.errors import ConfigError
from stream.security import BrokerSettings, ClientKeys, ServerKeys, is_loopback, password, with_hint


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_addresses_of_this_machine_are_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "[::]", "*", "robot.local", ""])
def test_addresses_that_other_machines_can_reach_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


# CURVE


def certificate(folder: Path, name: str) -> Path:
    """Make the certificate `name`; returns its .key_secret file."""
    zmq.auth.create_certificates(folder, name)
    return folder / f"{name}.key_secret"


def test_a_public_certificate_in_place_of_a_secret_one_is_refused(tmp_path: Path) -> None:
    certificate(tmp_path, "robot")
    with pytest.raises(ConfigError, match=r"robot.key holds no secret key; name the .key_secret file"):
        ClientKeys(tmp_path / "robot.key", tmp_path / "robot.key")
    with pytest.raises(ConfigError, match=r"robot.key holds no secret key; name the .key_secret file"):
        ServerKeys(tmp_path / "robot.key", tmp_path)


def test_a_missing_certificate_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    client = certificate(tmp_path, "robot")
    with pytest.raises(ConfigError, match=r"CURVE keys: .*create_certificates makes such files"):
        ClientKeys(client, tmp_path / "node.key")
    with pytest.raises(ConfigError, match=r"CURVE keys: .*create_certificates makes such files"):
        ServerKeys(client, tmp_path / "nowhere")


def test_an_empty_folder_of_clients_is_refused(tmp_path: Path) -> None:
    server = certificate(tmp_path, "node")
    (tmp_path / "clients").mkdir()
    with pytest.raises(ConfigError, match=r"no .key file in .*clients, so no client could connect"):
        ServerKeys(server, tmp_path / "clients")


# MQTT


def test_the_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEA", "tea-time")
    assert (password("robot", "TEA"), password(None, "TEA")) == ("tea-time", None)
    monkeypatch.delenv("TEA")
    with pytest.raises(
        ConfigError, match="the password of 'robot' in the environment variable TEA, which is not"
    ):
        password("robot", "TEA")


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match=f"mqtt port: expected 1 to 65535, got {port}"):
        BrokerSettings(port=port)


def test_only_a_refused_login_gets_a_hint() -> None:
    assert with_hint(OSError("Not authorised"), "TEA") == "Not authorised; check username and TEA"
    assert with_hint(TimeoutError(), "TEA") == "TimeoutError"
