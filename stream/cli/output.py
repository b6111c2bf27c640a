"""Lines for whoever reads the command's output, who may have left."""

import os
import sys

from stream.errors import PoseliftError


def print_line(line: str) -> None:
    """One line to the terminal, at once, also when it is piped; ends the command when nobody reads it."""
    try:
        sys.stdout.write(line + "\n")  # in one piece: the demo's two processes share a terminal
        sys.stdout.flush()
    except OSError as error:
        _silence()
        if isinstance(error, BrokenPipeError):  # `poselift listen | head` is no mistake
            raise SystemExit(0) from None
        raise PoseliftError(f"the output cannot be written: {error.strerror}") from None


def _silence() -> None:
    """Let what is still in the buffer go nowhere, or Python would complain about it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
