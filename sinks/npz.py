"""NPZ sink: records poses as arrays in a `.npz` file; `stream.files.poses` has the layout."""

import logging
from tempfile import TemporaryFile

import msgspec

from sinks.recording_path import check_suffix, recording_path, write_error
from stream.errors import ConfigError
from stream.files.poses import PoseTable
from stream.messages import Message, Meta, PoseFrame
from stream.protocols import ComponentContext
from stream.wire import codec as wire

log = logging.getLogger("poselift")


class NPZ:
    """Collects poses in memory and writes them when it closes; a file is written completely or not at all.

    More than `max_mb` is written in parts: walk.npz, walk.2.npz, ... A crash loses the part in memory; use
    JSONL where that matters.
    """

    close_timeout_s = 60.0  # writes the recording

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """path: of the file; an existing file is replaced. {time} in it becomes the start time in UTC.

        max_mb: memory for poses not yet written, in megabytes; 512 holds about two hours of one person at
        30 Hz. Writing briefly needs the same amount again.
        """

        path: str = "poses.npz"
        max_mb: float = 512.0

        def __post_init__(self) -> None:
            check_suffix(self.path, ".npz")
            if not self.max_mb > 0:
                raise ConfigError(f"npz max_mb: expected megabytes above 0, got {self.max_mb}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._path = recording_path(settings.path, context)
        self.endpoint = str(self._path)
        self._max_bytes = settings.max_mb * 1e6
        self._clock = context.clock
        self._table = PoseTable()
        self._meta: Meta | None = None
        self._part = 1

    def open(self) -> None:
        """Check that the file can be written, before hours are recorded; ConfigError if it cannot."""
        try:
            with TemporaryFile(dir=self._path.parent):
                pass
            if self._path.is_dir():
                raise IsADirectoryError("it is a folder")
        except OSError as error:
            raise write_error(self._path, error) from error

    def close(self) -> None:
        """Write the poses that are still in memory; ConfigError when that is impossible."""
        if len(self._table):
            self._write()

    def send(self, message: Message) -> None:
        """Keep a pose frame or a meta; ignore a status. ConfigError when a full part cannot be written."""
        if isinstance(message, Meta):
            self._table.describe(message)
            self._meta = message
        elif isinstance(message, PoseFrame):
            if self._table.nbytes > self._max_bytes or not self._table.fits(message):
                self._write()
            self._table.add(wire.with_publish_time(message, self._clock))

    def _write(self) -> None:
        path = self._path if self._part == 1 else self._path.with_suffix(f".{self._part}.npz")
        try:
            self._table.write(path)
        except OSError as error:
            raise write_error(path, error) from error
        log.info("wrote %d frames to %s", len(self._table), path)
        self._part += 1
        self._table = PoseTable()
        if self._meta is not None:
            self._table.describe(self._meta)
