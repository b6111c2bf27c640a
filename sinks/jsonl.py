"""JSONL sink: records messages in a file, one line of JSON each."""

from io import FileIO

from sinks.recording_path import RotatingPath, RotationSettings, check_suffix, recording_path, write_error
from stream.errors import ConfigError
from stream.messages import Message, Meta, PoseFrame
from stream.protocols import ComponentContext
from stream.wire import codec as wire


class JSONL:
    """Writes pose frames and changed metas immediately; a crash damages at most the last line."""

    close_timeout_s = 1.0

    class Settings(RotationSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of a .jsonl recording.

        path: The file to write. {time} in it becomes the UTC time of opening.
        """

        path: str = "poses.jsonl"

        def __post_init__(self) -> None:
            check_suffix(self.path, ".jsonl")
            self.check_limits("jsonl")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._files = RotatingPath(recording_path(settings.path, context), settings, context.clock)
        self._mode = "w" if settings.overwrite else "x"
        self._size = 0  # bytes in the current file
        self._clock = context.clock
        self._file: FileIO | None = None
        self._metas: dict[str, Meta] = {}

    @property
    def endpoint(self) -> str:
        """The current file."""
        return str(self._files.path)

    def open(self) -> None:
        """Create the file; ConfigError when that is impossible."""
        self._metas.clear()
        self._begin_file()

    def _begin_file(self) -> None:
        path = self._files.begin()
        self._size = 0
        try:
            self._file = FileIO(path, self._mode)  # Unbuffered: a crash loses no line that was written.
        except OSError as error:
            raise write_error(path, error) from error
        for meta in self._metas.values():
            self._write(meta)

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
        if self._files.is_full(self._size):
            self.close()
            self._begin_file()  # with all metas
            if isinstance(message, Meta):
                return
        self._write(message)

    def _write(self, message: Message) -> None:
        line = wire.encode(message, "json") + b"\n"
        self._size += len(line)
        if self._file is None:
            raise ConfigError(f"{self.endpoint}: the recording is not open")
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except OSError as error:
            raise write_error(self._files.path, error) from error
