"""Folders of this user."""

from pathlib import Path

import pytest

from stream.files import cache as folders


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSELIFT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setattr("sys.platform", "linux")
    assert folders.cache_dir() == Path("/caches/poselift")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folders.cache_dir() == Path.home() / ".cache/poselift"
    monkeypatch.setattr("sys.platform", "darwin")
    assert folders.cache_dir() == Path.home() / "Library/Caches/poselift"
