"""Lines of a .jsonl file, of bounded length."""

from collections.abc import Iterator
from pathlib import Path

from stream.errors import ConfigError
from stream.wire.schema import MAX_BYTES

MAX_LINE_BYTES = MAX_BYTES + 2  # the largest document and the end of the line


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of every line, with its end unless the file stops there.

    ConfigError for a line longer than any document, which is read no further.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ConfigError(f"{path}, line {number}: expected at most {MAX_BYTES} bytes")
            yield number, line
