import os
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.security import is_loopback, require_private


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_addresses_of_this_machine_are_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "[::]", "*", "robot.local", ""])
def test_addresses_that_other_machines_can_reach_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_a_secret_that_other_users_can_open_is_refused_with_the_command_to_run(
    tmp_path: Path, mode: int
) -> None:
    file = tmp_path / "secret"
    file.write_text("tea-time")
    file.chmod(mode)
    with pytest.raises(ConfigError, match=rf"key: other users .*secret \(mode {mode:04o}\); run: chmod 600"):
        require_private(file, "key")
    os.chmod(file, 0o600)
    assert require_private(file, "key") == file


def test_a_missing_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"key: .*nothing cannot be read: No such file or directory"):
        require_private(tmp_path / "nothing", "key")
