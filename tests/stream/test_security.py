import pytest

from stream.security import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_addresses_of_this_machine_are_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "[::]", "*", "robot.local", ""])
def test_addresses_that_other_machines_can_reach_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
