"""Terminal output of the commands: lines on stdout, progress bars and warnings on stderr."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from stream.errors import PoseliftError
from stream.runtime.progress import ReportProgress

log = logging.getLogger("poselift")


def print_line(line: str) -> None:
    """Print a line at once, also into a pipe.

    Ends the command with exit code 0 when the reader of the pipe has closed it (`poselift listen | head`);
    PoseliftError when stdout cannot be written for another reason.
    """
    try:
        sys.stdout.write(line + "\n")  # in one call: the two processes of the demo share a terminal
        sys.stdout.flush()
    except OSError as error:
        _discard_stdout()
        if isinstance(error, BrokenPipeError):
            raise SystemExit(0) from None
        raise PoseliftError(f"the output cannot be written: {error.strerror}") from None


def print_status(line: str) -> None:
    """Print a line of a node, which goes on when stdout cannot be written: a full disk, a closed pipe.

    Then a warning is logged, and no further line printed.
    """
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError as error:
        _discard_stdout()
        log.warning("the output cannot be written (%s); the node goes on without", error.strerror)


def open_missing_streams() -> None:
    """Give stdin, stdout and stderr a file where the program was started without one (`>&-`).

    Otherwise the next socket would get its number, and all that libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


@contextmanager
def progress_bar(description: str) -> Iterator[ReportProgress]:
    """Show a progress bar on stderr while the block runs; the block calls the yielded function.

    Log lines below WARNING are suppressed meanwhile, because they would tear the bar apart.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with _warnings_only(), Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _warnings_only() -> Iterator[None]:
    log = logging.getLogger("poselift")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def _discard_stdout() -> None:
    """Send buffered output to the null device; otherwise Python reports the write error again at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
