"""MCAP recordings: read the documents back, and repair a file whose writer was killed."""

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream.errors import ConfigError, DecodeError
from stream.files.bounded import BoundedReader
from stream.files.cache import write_atomically
from stream.files.pose_joints import check_joints
from stream.messages import KeypointFrame, Message, PoseFrame
from stream.wire.codec import decode

POSES, META, STATUS = "/poselift/pose3d", "/poselift/meta", "/poselift/status"
DOCUMENTS = (POSES, META, STATUS)
CHUNK_BYTES = 65536
MAX_CHUNK_BYTES = 1 << 26  # of chunks that are read; other writers make them of some megabytes


def load_mcap(module: str) -> Any:
    """A module of the package mcap; ConfigError says how to install it."""
    try:
        return importlib.import_module(f"mcap.{module}")
    except ImportError as error:
        raise ConfigError(
            f"MCAP files need the package mcap ({error}); pip install 'poselift[mcap]'"
        ) from None


def read_messages(path: Path, strict: bool = False) -> Iterator[Message | KeypointFrame]:
    """Pose frames, metas and statuses in the order of writing; a message cut off at the end is left out.

    captured_ns of pose frames counts from the first one. strict: refuse poses with other joints than their
    skeleton. Raises ConfigError for other files.
    """
    first_ns: int | None = None
    for topic, record in _records(path):
        if topic not in DOCUMENTS:
            continue
        try:
            message = decode(record.data)
            if strict and isinstance(message, PoseFrame):
                check_joints(message)
        except DecodeError as error:
            raise ConfigError(f"{path}: {error}") from None
        if isinstance(message, PoseFrame):
            unix_ns = message.header.captured_unix_ns
            first_ns = unix_ns if first_ns is None else first_ns
            message = replace(message, header=replace(message.header, captured_ns=unix_ns - first_ns))
        yield message


def read(path: Path) -> Iterator[PoseFrame]:
    """The pose frames of a recording."""
    return (message for message in read_messages(path) if isinstance(message, PoseFrame))


def repair(path: Path, output: Path) -> int:
    """Write all messages that can be read into a new file with an index; returns how many."""
    writer_module, known = load_mcap("writer"), {}
    count = 0
    with write_atomically(output) as temporary, temporary.open("wb") as file:
        writer = writer_module.Writer(file, chunk_size=1024 * 1024)
        writer.start(profile="ros2", library="poselift")
        schemas: dict[int, Any] = {}
        for record in _raw_records(path):
            match type(record).__name__:
                case "Schema":
                    schemas[record.id] = record
                case "Channel" if record.id not in known:
                    schema = schemas.get(record.schema_id)  # 0 stands for none
                    known[record.id] = writer.register_channel(
                        topic=record.topic,
                        message_encoding=record.message_encoding,
                        schema_id=_register(writer, schema) if schema else 0,
                        metadata=record.metadata,
                    )
                case "Message" if record.channel_id in known:
                    times = record.log_time, record.data, record.publish_time, record.sequence
                    writer.add_message(known[record.channel_id], *times)
                    count += 1
        writer.finish()
    return count


def _register(writer: Any, schema: Any) -> int:
    number: int = writer.register_schema(schema.name, schema.encoding, schema.data)
    return number


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Topic and record of every message."""
    topics: dict[int, str] = {}
    for record in _raw_records(path):
        match type(record).__name__:
            case "Channel":
                topics[record.id] = record.topic
            case "Message" if record.channel_id in topics:
                yield topics[record.channel_id], record


def _raw_records(path: Path) -> Iterator[Any]:
    """Records from the start of a file up to its end or to the first one that is cut off."""
    reader = load_mcap("stream_reader")
    if not path.is_file():
        raise ConfigError(f"{path}: expected an MCAP file, but there is none")
    started = False
    with path.open("rb") as file:
        try:
            bounded = BoundedReader(file, path.stat().st_size)
            for record in reader.StreamReader(bounded, emit_chunks=True).records:
                started = True
                if type(record).__name__ == "Chunk":
                    _check_size(record)
                    yield from reader.breakup_chunk(record)
                else:
                    yield record
        except Exception as error:  # the package and its decompressors raise many types for damaged files
            if not started:
                raise ConfigError(f"{path}: expected an MCAP file: {error}") from None


def _check_size(chunk: Any) -> None:
    """Raise ValueError for a chunk that claims to need more memory than any writer uses for one."""
    size = chunk.uncompressed_size
    if chunk.compression == "zstd":
        import zstandard

        size = max(size, zstandard.frame_content_size(chunk.data))
    if size > MAX_CHUNK_BYTES:
        raise ValueError(f"a chunk of {size} bytes")
