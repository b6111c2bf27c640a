"""Paths of recordings: check the suffix, fill in {time}, explain why a file cannot be written."""

import time
from pathlib import Path

from stream.errors import ConfigError
from stream.protocols import ComponentContext


def check_suffix(path: str, suffix: str) -> None:
    """Raise ConfigError unless `path` ends in `suffix`."""
    if not path.endswith(suffix):
        raise ConfigError(f"path: expected a file ending in {suffix}, got {path!r}")


def recording_path(text: str, context: ComponentContext) -> Path:
    """`text` with ~ and {time} (UTC, now) filled in; ConfigError unless its folder exists."""
    seconds = context.clock.unix_ns() // 10**9
    path = Path(text.replace("{time}", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds)))).expanduser()
    if not path.parent.is_dir():
        raise ConfigError(f"{context.name}.path: the folder {path.parent} does not exist; make it first")
    return path


def write_error(path: Path, error: Exception) -> ConfigError:
    """The error to raise when `path` cannot be written.

    It is a ConfigError, which ends the recording: opening the file again would replace what was recorded.
    """
    return ConfigError(f"{path}: cannot be written: {error}; make room or choose another place")


class TakeNames:
    """Names of files of which every stay of a person gets one: {id}, or the id appended from the second
    on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def next(self, id: str) -> Path:
        """The file of the next stay; never one that was written in this run."""
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in id)[:40]
        if "{id}" in self._path.name:
            path = self._path.with_name(self._path.name.replace("{id}", safe))
        else:
            path = self._path.with_stem(f"{self._path.stem}-{safe}") if self._count else self._path
        stem, number = path.stem, 2
        while self._count and path.exists():
            path = path.with_stem(f"{stem}-{number}")
            number += 1
        self._count += 1
        return path
