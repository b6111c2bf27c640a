"""Messages as lines of JSON."""

from io import FileIO
from typing import Self

import msgspec

from sinks.recording_path import cannot_write, check_ending, recording_path
from stream.errors import ConfigError
from stream.messages import Message, Meta, PoseFrame
from stream.protocols import ComponentContext
from stream.wire import codec as wire


class JSONL:
    """A line per message, written at once: whatever kills the program, at most the last line is broken."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of a .jsonl recording.

        path: The file to write; an existing file is replaced. {time} in it becomes the UTC time of opening.
        """

        path: str = "poses.jsonl"

        def __post_init__(self) -> None:
            check_ending(self.path, ".jsonl")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._path = recording_path(settings.path, context)
        self._clock = context.clock
        self._file: FileIO | None = None
        self._metas: dict[str, Meta] = {}

    def __enter__(self) -> Self:
        try:
            self._file = FileIO(self._path, "w")  # unbuffered: a line written is a line kept
        except OSError as error:
            raise cannot_write(self._path, error) from error
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
            message = wire.with_publish_time(message, self._clock)
        else:
            return
        line = wire.encode(message, "json") + b"\n"
        if self._file is None:
            raise ConfigError(f"{self._path}: the recording is not open")
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except (OSError, ValueError) as error:
            raise cannot_write(self._path, error) from error
