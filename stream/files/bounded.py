"""A file whose declared lengths are not believed: no more memory is taken than the file has bytes."""

from typing import BinaryIO


class BoundedReader:
    """Reads at most `size` bytes of an open file.

    Python allocates the number of bytes that `read` asks for before it looks at the file, so that a damaged
    length of some gigabytes costs as much memory.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._remaining = size

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, by default all of them; fewer at the end."""
        size = self._remaining if size < 0 else min(size, self._remaining)
        data = self._file.read(size)
        self._remaining -= len(data)
        return data
