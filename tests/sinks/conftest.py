"""Fixtures of the tests of sinks."""

import pytest


@pytest.fixture
def domain(worker_id: str) -> int:
    """A DDS domain of its own for tests that run side by side."""
    return 60 + int(worker_id.removeprefix("gw") or 0) if worker_id != "master" else 59
