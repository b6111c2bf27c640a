"""Convert recorded poses to another format: the messages of one file go through the sink of the other."""

from collections.abc import Iterable
from pathlib import Path

from sinks import ROTATION_SINKS
from stream.config.load import resolve
from stream.errors import ConfigError
from stream.files.recorded_poses import read_messages
from stream.messages import Meta, PoseFrame
from stream.postprocess.add_rotations import with_rotations
from stream.protocols import ComponentContext, opened
from stream.runtime.offline import check_output, output_sink


def convert(source: Path, output: Path, changes: Iterable[str] = ()) -> int:
    """Write the recorded poses in `source` (.jsonl, .npz, .mcap) to `output`; returns the number of frames.

    changes: `sink.key=value` settings of the output. Raises ConfigError for files that cannot be read or
    written, and for an input without poses.
    """
    check_output(source, output)
    frames = write_messages(read_messages(source, strict=True), output, changes)
    if not frames:
        raise ConfigError(f"{source}: no poses in it")
    return frames


def write_messages(messages: Iterable[PoseFrame | Meta], output: Path, changes: Iterable[str] = ()) -> int:
    """Write messages to a file, with joint rotations where it needs them; returns the number of frames."""
    sinks = {"output": output_sink(output)}
    config = resolve({"sources": {"input": {"type": "recording"}}, "sinks": sinks}, changes).sinks["output"]
    if config.type in ROTATION_SINKS:
        messages = with_rotations(messages)
    frames = 0
    with opened(config.make(config.settings, ComponentContext("output"))) as sink:
        for message in messages:
            sink.send(message)
            frames += isinstance(message, PoseFrame)
    return frames
