"""Fixtures of the tests of sinks."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest


@pytest.fixture
def domain(worker_id: str) -> int:
    """A DDS domain of its own for tests that run side by side."""
    return 60 + int(worker_id.removeprefix("gw") or 0) if worker_id != "master" else 59


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes at the end of the test what entered it."""
    with ExitStack() as stack:
        yield stack
