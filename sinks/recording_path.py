"""Files of recordings: their names, when the next one begins, and why one cannot be written."""

import math
import time
from pathlib import Path

import msgspec

from stream.clock import Clock
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

    It is a ConfigError, which ends the recording: a full disk stays full.
    """
    return ConfigError(f"{path}: cannot be written: {error}; make room or choose another place")


class RotationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a recording that is split into several files.

    max_mb: Megabytes after which the next file begins: walk, walk.2, walk.3 and so on; null sets no limit.

    max_s: Seconds after which the next file begins; null sets no limit.

    overwrite: Replace an existing file. Otherwise the recording gets the next free name, such as walk.2.
    """

    max_mb: float | None = None
    max_s: float | None = None
    overwrite: bool = False

    def is_full(self, size: float, seconds: float) -> bool:
        """Whether the next file should begin after `size` bytes or `seconds` of the current one."""
        max_bytes = math.inf if self.max_mb is None else self.max_mb * 1e6
        return size >= max_bytes or seconds >= (math.inf if self.max_s is None else self.max_s)

    def check_limits(self, component: str) -> None:
        """Raise ConfigError for a limit that is not above 0."""
        for name, unit in (("max_mb", "megabytes"), ("max_s", "seconds")):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{component} {name}: expected {unit} above 0, got {value}")


class RotatingPath:
    """The file that a recording writes now, and when the next one begins.

    path: of the current file; its name is free when `begin` returns, unless existing files may be replaced.
    """

    def __init__(self, path: Path, settings: RotationSettings, clock: Clock) -> None:
        self.path = path
        self._first = path
        self._clock = clock
        self._settings = settings
        self._number = 0
        self._begin_ns = 0

    def begin(self) -> Path:
        """Begin the next file: the path for it."""
        self._begin_ns = self._clock.now_ns()
        while True:
            self._number += 1
            number = "" if self._number == 1 else f".{self._number}"
            self.path = self._first.with_suffix(f"{number}{self._first.suffix}")
            if self._settings.overwrite or not (self.path.is_file() or journal_path(self.path).is_file()):
                return self.path

    def is_full(self, size: int) -> bool:
        """Whether the next file should begin when the current one has `size` bytes."""
        return self._settings.is_full(size, (self._clock.now_ns() - self._begin_ns) / 1e9)


def journal_path(path: Path) -> Path:
    """The file with the poses of an .npz recording that is not written yet."""
    return path.with_name(f"{path.name}.journal.jsonl")


class TakeNames:
    """Names of files of which every stay of a person gets one: {id}, or the id appended from the second
    on.
    """

    def __init__(self, path: Path, overwrite: bool) -> None:
        self._path = path
        self._overwrite = overwrite
        self._used: set[Path] = set()

    def next(self, id: str) -> Path:
        """The file of the next stay: never one of this run, one of an earlier run only to overwrite it."""
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in id)[:40]
        if "{id}" in self._path.name:
            path = self._path.with_name(self._path.name.replace("{id}", safe))
        else:
            path = self._path.with_stem(f"{self._path.stem}-{safe}") if self._used else self._path
        stem, number = path.stem, 2
        while path in self._used or (path.exists() and not self._overwrite):
            path = path.with_stem(f"{stem}-{number}")
            number += 1
        self._used.add(path)
        return path
