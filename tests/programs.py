"""Starts programs of the examples and documents in processes of their own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A running `python ARGUMENTS` in the root of the repository, killed at the end of the block."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    """The next line that the process prints; "" at its end."""
    assert process.stdout is not None
    return process.stdout.readline().strip()
