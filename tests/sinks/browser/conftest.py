"""Fixtures: one Chromium for all tests of this folder, and viewers that serve on free ports."""

from collections.abc import Iterator

import pytest

from sinks.browser import Browser
from stream.protocols import ComponentContext, opened
from tests.sinks.browser.chromium import Chromium


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def viewer() -> Iterator[Browser]:
    """An open sink on loopback."""
    with opened(Browser(Browser.Settings(port=0), ComponentContext("view"))) as sink:
        yield sink
