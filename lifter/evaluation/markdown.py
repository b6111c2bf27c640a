"""Markdown for figures that a command measures: tables, and places in documents that it keeps up to date."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from stream.errors import ConfigError


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that is readable as it is: the first column to the left, numbers to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def row(cells: Sequence[str]) -> str:
        name, *numbers = cells
        rest = (cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))
        return f"| {' | '.join([name.ljust(widths[0]), *rest])} |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([row(lines[0]), rule, *map(row, lines[1:])])


def pair(errors: tuple[float, float]) -> str:
    """MPJPE / P-MPJPE; nothing where nothing was measured."""
    return "" if np.isnan(errors[0]) else f"{errors[0]:.1f} / {errors[1]:.1f}"


def percent(value: float, base: float) -> str:
    """By how much a value is over its base."""
    return "" if np.isnan(value / base) else f"{100 * (value / base - 1):+.1f} %"


def wrapped(text: str) -> str:
    """A paragraph in lines of 110 letters."""
    return fill(text, width=110, break_on_hyphens=False, break_long_words=False)


def check(document: Path, place: str, new: bool = False) -> None:
    """Refuse before the work what would fail after it; new: the document need not be there yet."""
    if new and not document.exists():
        if not document.parent.is_dir():
            raise ConfigError(f"{document}: the folder {document.parent} does not exist; make it first")
        return
    _around(document, place)


def put(document: Path, place: str, text: str) -> None:
    """Replace what a document has at a place, between `<!-- place -->` and `<!-- /place -->`."""
    before, after = _around(document, place) if document.exists() else ("", "\n")
    document.write_text(f"{before}<!-- {place} -->\n\n{text}\n\n<!-- /{place} -->{after}", encoding="utf-8")


def _around(document: Path, place: str) -> tuple[str, str]:
    try:
        old = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{document}: cannot be read: {error}") from None
    start, end = f"<!-- {place} -->", f"<!-- /{place} -->"
    before, found, rest = old.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ConfigError(f"{document}: expected the lines {start} and {end}, between which the figures go")
    return before, after
