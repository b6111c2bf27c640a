"""MCAP recordings for Foxglove and `ros2 bag play`: ROS 2 messages beside the full documents.

A chunk is written every second or 64 kB, so that a killed recording lacks at most its last second; the
official readers want an index, which `poselift repair` writes anew.
"""

from typing import Any, BinaryIO, cast

from sinks.recording_path import RotatingPath, RotationSettings, check_suffix, recording_path, write_error
from sinks.ros2.convert import RosConverter
from sinks.ros2.definitions import text
from stream.files.mcap import CHUNK_BYTES, META, POSES, STATUS, load_mcap
from stream.messages import Message, Meta, PoseFrame, Status
from stream.protocols import ComponentContext
from stream.wire.codec import encode, with_publish_time

FLUSH_NS = 1_000_000_000
_NO_SCHEMA = 0


class MCAP:
    """Writes every message into one .mcap file with the ROS 2 profile."""

    class Settings(RotationSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """path: The file to write. {time} in it becomes the UTC time of opening."""

        path: str = "poses.mcap"

        def __post_init__(self) -> None:
            check_suffix(self.path, ".mcap")
            self.check_limits("mcap")

    close_timeout_s = 10.0

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._files = RotatingPath(recording_path(settings.path, context), settings, context.clock)
        self._mode = "wb" if settings.overwrite else "xb"
        self._metas: dict[str, Meta] = {}
        self._clock = context.clock
        self._converter = RosConverter()
        self._file: BinaryIO | None = None
        self._writer: Any = None
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._sequence = 0
        self._flush_ns = 0

    @property
    def endpoint(self) -> str:
        return str(self._files.path)

    def open(self) -> None:
        writer, path = load_mcap("writer"), self._files.begin()
        self._channels.clear()
        self._schemas.clear()
        self._converter = RosConverter()
        try:
            self._file = cast(BinaryIO, path.open(self._mode))
            self._writer = writer.Writer(self._file, chunk_size=CHUNK_BYTES)
            self._writer.start(profile="ros2", library="poselift")
        except OSError as error:
            raise write_error(path, error) from error

    def close(self) -> None:
        if self._file is None:
            return
        try:
            self._writer.finish()
            self._file.close()
        except OSError as error:
            raise write_error(self._files.path, error) from error
        finally:
            self._file = None

    def send(self, message: Message) -> None:
        """Write the message as a JSON document and as ROS 2 messages."""
        if self._file is not None and self._files.is_full(self._file.tell()):
            self.close()
            self.open()
            for meta in self._metas.values():
                self._write(meta)
        if isinstance(message, Meta):
            self._metas[message.source] = message
        self._write(message)

    def _write(self, message: Message) -> None:
        now_ns = self._clock.unix_ns()
        if isinstance(message, PoseFrame):
            message = with_publish_time(message, self._clock)
            now_ns = message.published_unix_ns
        topic = {PoseFrame: POSES, Meta: META, Status: STATUS}[type(message)]
        try:
            self._add(topic, "json", encode(message, "json"), now_ns)
            for converted in self._converter.convert(message):
                if converted.data is not None:
                    self._add(converted.topic, converted.type_name, converted.data, now_ns)
            if self._clock.now_ns() >= self._flush_ns:
                self._writer.flush()
                self._flush_ns = self._clock.now_ns() + FLUSH_NS
        except OSError as error:
            raise write_error(self._files.path, error) from error

    def _add(self, topic: str, kind: str, data: bytes, at_ns: int) -> None:
        if topic not in self._channels:
            encoding = "json" if kind == "json" else "cdr"
            self._channels[topic] = self._writer.register_channel(topic, encoding, self._schema(kind))
        self._sequence += 1
        self._writer.add_message(self._channels[topic], at_ns, data, at_ns, self._sequence)

    def _schema(self, kind: str) -> int:
        if kind == "json":
            return _NO_SCHEMA  # readers of ROS bags know no other schemas than ROS's own
        if kind not in self._schemas:
            definition = text(kind.replace("/msg/", "/")).encode()
            self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", definition)
        return self._schemas[kind]
