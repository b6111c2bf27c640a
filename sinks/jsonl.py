"""JSONL sink: records messages in a file, one line of JSON each."""

from io import FileIO

import msgspec

from sinks.recording_path import check_suffix, recording_path, write_error
from stream.errors import ConfigError
from stream.messages import Message, Meta, PoseFrame
from stream.protocols import ComponentContext
from stream.wire import codec as wire


class JSONL:
    """Writes pose frames and changed metas immediately; a crash damages at most the last line."""

    close_timeout_s = 1.0

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """path: of the file; an existing file is replaced. {time} in it becomes the start time in UTC."""

        path: str = "poses.jsonl"

        def __post_init__(self) -> None:
            check_suffix(self.path, ".jsonl")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._path = recording_path(settings.path, context)
        self.endpoint = str(self._path)
        self._clock = context.clock
        self._file: FileIO | None = None
        self._metas: dict[str, Meta] = {}

    def open(self) -> None:
        """Create the file; ConfigError when that is impossible."""
        self._metas.clear()
        try:
            self._file = FileIO(self._path, "w")  # Unbuffered: a crash loses no line that was written.
        except OSError as error:
            raise write_error(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def send(self, message: Message) -> None:
        """Write a pose frame or a changed meta; a status is ignored. ConfigError when the disk is full."""
        if isinstance(message, Meta):
            if self._metas.get(message.source) == message:
                return  # It is sent every second; the file needs it once.
            self._metas[message.source] = message
        elif isinstance(message, PoseFrame):
            message = wire.with_publish_time(message, self._clock)
        else:
            return
        line = wire.encode(message, "json") + b"\n"
        if self._file is None:
            raise ConfigError(f"{self._path}: the recording is not open")
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except OSError as error:
            raise write_error(self._path, error) from error
