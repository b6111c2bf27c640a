"""Recordings: everything as it comes in a `.jsonl`, or arrays in a `.npz`; `stream.pose_files` reads both."""

import logging
import time
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

import msgspec

from stream import wire
from stream.context import Context
from stream.errors import ConfigError
from stream.messages import Message, Meta, PoseFrame
from stream.pose_files import Table

log = logging.getLogger("poselift")


class JSONL:
    """A line per message, written at once: whatever kills the program, at most the last line is broken."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """path: of the file, replaced if it is there; {time} in it becomes the time it was opened, in UTC."""

        path: str = "poses.jsonl"

        def __post_init__(self) -> None:
            _check_ending(self.path, ".jsonl")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._path = _path(settings.path, context)
        self._clock = context.clock
        self._file: FileIO | None = None
        self._metas: dict[str, Meta] = {}

    def __enter__(self) -> Self:
        try:
            self._file = FileIO(self._path, "w")  # unbuffered: a line written is a line kept
        except OSError as error:
            raise _cannot(self._path, error) from error
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()

    def send(self, message: Message) -> None:
        if isinstance(message, Meta):
            if self._metas.get(message.source) == message:
                return  # it comes every second; once is enough in a file
            self._metas[message.source] = message
        elif isinstance(message, PoseFrame):
            message = wire.stamped(message, self._clock)
        else:
            return
        line = wire.encode(message, "json") + b"\n"
        if self._file is None:
            raise ConfigError(f"{self._path}: the recording is not open")
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except (OSError, ValueError) as error:
            raise _cannot(self._path, error) from error


class NPZ:
    """Arrays of all poses, written when the recording ends; each file is whole or not there.

    What takes more than `max_mb` of memory is written in parts: walk.npz, walk.2.npz, ...
    A killed program loses the part that was not written yet; take JSONL where that matters.
    """

    writes_at_close = True  # so a stop waits for it

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """path: of the file, replaced if it is there; {time} in it becomes the time it was opened, in UTC.

        max_mb: memory for poses not written yet, in megabytes, about two hours of one person at 30 Hz;
        writing needs as much again for a moment.
        """

        path: str = "poses.npz"
        max_mb: float = 512.0

        def __post_init__(self) -> None:
            _check_ending(self.path, ".npz")
            if not self.max_mb > 0:
                raise ConfigError(f"npz max_mb: expected megabytes above 0, got {self.max_mb}")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._path = _path(settings.path, context)
        self._max_bytes = settings.max_mb * 1e6
        self._clock = context.clock
        self._table = Table()
        self._meta: Meta | None = None
        self._part = 1

    def __enter__(self) -> Self:
        try:
            with TemporaryFile(dir=self._path.parent):
                pass  # a folder that cannot be written to is better known now than after hours
            if self._path.is_dir():
                raise IsADirectoryError("it is a folder")
        except OSError as error:
            raise _cannot(self._path, error) from error
        return self

    def __exit__(self, *exc: object) -> None:
        if len(self._table):
            self._write()

    def send(self, message: Message) -> None:
        if isinstance(message, Meta):
            self._table.describe(message)
            self._meta = message
        elif isinstance(message, PoseFrame):
            if self._table.nbytes > self._max_bytes or not self._table.fits(message):
                self._write()
            self._table.add(wire.stamped(message, self._clock))

    def _write(self) -> None:
        path = self._path if self._part == 1 else self._path.with_suffix(f".{self._part}.npz")
        try:
            self._table.write(path)
        except OSError as error:
            raise _cannot(path, error) from error
        log.info("wrote %d frames to %s", len(self._table), path)
        self._part += 1
        self._table = Table()
        if self._meta is not None:
            self._table.describe(self._meta)


def _check_ending(path: str, ending: str) -> None:
    if not path.endswith(ending):
        raise ConfigError(f"path: expected a file ending in {ending}, got {path!r}")


def _path(text: str, context: Context) -> Path:
    seconds = context.clock.unix_ns() // 10**9
    path = Path(text.replace("{time}", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds)))).expanduser()
    if not path.parent.is_dir():
        raise ConfigError(f"{context.name}.path: the folder {path.parent} does not exist; make it first")
    return path


def _cannot(path: Path, error: Exception) -> ConfigError:
    # Trying again would replace what is already recorded, so this ends the recording.
    return ConfigError(f"{path}: cannot be written: {error}; make room or choose another place")
