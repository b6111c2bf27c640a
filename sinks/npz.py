"""NPZ sink: records poses as arrays in a `.npz` file; `stream.files.poses` has the layout."""

import logging
from io import FileIO
from tempfile import TemporaryFile

from sinks.recording_path import (
    RotatingPath,
    RotationSettings,
    check_suffix,
    journal_path,
    recording_path,
    write_error,
)
from stream.files.poses import PoseTable
from stream.messages import Message, Meta, PoseFrame
from stream.protocols import ComponentContext
from stream.wire import codec as wire

log = logging.getLogger("poselift")


class NPZ:
    """Collects poses in memory and writes them when it closes; a file is written completely or not at all.

    More than `max_mb` is written in parts: walk.npz, walk.2.npz, ... Until a part is written, its poses are
    also in a journal, walk.npz.journal.jsonl, a JSONL recording that stays after a crash or on a full disk.
    """

    close_timeout_s = 60.0  # writes the recording

    class Settings(RotationSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of an .npz recording.

        path: The file to write. {time} in it becomes the UTC time of opening.

        max_mb: Memory in megabytes for poses that are not written yet; 512 are about two hours of one person
        at 30 Hz. Writing needs as much again.

        journal: Write every pose to a journal at once, so that a crash loses none.
        """

        path: str = "poses.npz"
        max_mb: float | None = 512.0
        journal: bool = True

        def __post_init__(self) -> None:
            check_suffix(self.path, ".npz")
            self.check_limits("npz")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._files = RotatingPath(recording_path(settings.path, context), settings, context.clock)
        self._with_journal = settings.journal
        self._overwrite = settings.overwrite
        self._journal: FileIO | None = None
        self._clock = context.clock
        self._table = PoseTable()
        self._meta: Meta | None = None

    @property
    def endpoint(self) -> str:
        """The current file."""
        return str(self._files.path)

    def open(self) -> None:
        """Check that the file can be written, before hours are recorded; ConfigError if it cannot."""
        path = self._files.begin()
        try:
            with TemporaryFile(dir=path.parent):
                pass
            if path.is_dir():
                raise IsADirectoryError("it is a folder")
        except OSError as error:
            raise write_error(path, error) from error

    def close(self) -> None:
        """Write the poses that are still in memory; ConfigError when that is impossible."""
        if len(self._table):
            self._write()

    def send(self, message: Message) -> None:
        """Keep a pose frame or a meta; ignore a status. ConfigError when a full part cannot be written."""
        if isinstance(message, Meta):
            self._table.set_meta(message)
            self._meta = message
        elif isinstance(message, PoseFrame):
            full = self._files.is_full(self._table.nbytes)
            if len(self._table) and (full or not self._table.fits(message)):
                self._write()
                self._files.begin()
            message = wire.with_publish_time(message, self._clock)
            if self._with_journal:
                self._write_journal(message)
            self._table.add(message)

    def _write_journal(self, message: PoseFrame) -> None:
        path = journal_path(self._files.path)
        lines = wire.encode(message, "json") + b"\n"
        try:
            if self._journal is None:
                self._journal = FileIO(path, "w")
                if self._meta is not None:
                    lines = wire.encode(self._meta, "json") + b"\n" + lines
            while lines:
                lines = lines[self._journal.write(lines) or 0 :]
        except OSError as error:
            raise write_error(path, error) from error

    def _write(self) -> None:
        journal, path = journal_path(self._files.path), self._files.path
        if path.is_file() and not self._overwrite:
            path = self._files.begin()  # another program has made a file of this name meanwhile
        try:
            self._table.write(path)
            if self._journal is not None:
                self._journal.close()
                self._journal = None
                journal.unlink(missing_ok=True)
        except OSError as error:
            if self._journal is not None:
                log.error("%s: the poses are in %s", path, journal)
            raise write_error(path, error) from error
        log.info("wrote %d frames to %s", len(self._table), path)
        self._table = PoseTable()
        if self._meta is not None:
            self._table.set_meta(self._meta)
