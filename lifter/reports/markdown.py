"""Markdown tables of figures, and sections of a document that a command keeps up to date."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from stream.errors import ConfigError


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A padded table: the first column aligned to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def row(cells: Sequence[str]) -> str:
        name, *numbers = cells
        padded = (cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))
        return f"| {' | '.join([name.ljust(widths[0]), *padded])} |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([row(lines[0]), rule, *map(row, lines[1:])])


def pair(errors: tuple[float, float]) -> str:
    """MPJPE / P-MPJPE in mm as text; empty for NaN."""
    return "" if np.isnan(errors[0]) else f"{errors[0]:.1f} / {errors[1]:.1f}"


def percent(value: float, base: float) -> str:
    """The difference of a value from its base, in percent with a sign; empty for NaN."""
    return "" if np.isnan(value / base) else f"{100 * (value / base - 1):+.1f} %"


def wrapped(text: str) -> str:
    """A paragraph in lines of at most 110 characters."""
    return fill(text, width=110, break_on_hyphens=False, break_long_words=False)


def check_section(document: Path, name: str, may_create: bool = False) -> None:
    """Raise ConfigError unless `write_section` can write; may_create: the document need not exist."""
    if may_create and not document.exists():
        if not document.parent.is_dir():
            raise ConfigError(f"{document}: the folder {document.parent} does not exist; make it first")
        return
    _text_around(document, name)


def write_section(document: Path, name: str, text: str) -> None:
    """Replace the text between `<!-- name -->` and `<!-- /name -->`, or create the document with it.

    Raises ConfigError for a document without these lines.
    """
    before, after = _text_around(document, name) if document.exists() else ("", "\n")
    document.write_text(f"{before}<!-- {name} -->\n\n{text}\n\n<!-- /{name} -->{after}", encoding="utf-8")


def _text_around(document: Path, name: str) -> tuple[str, str]:
    try:
        old = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{document}: cannot be read: {error}") from None
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, has_start, rest = old.partition(start)
    _, has_end, after = rest.partition(end)
    if not has_start or not has_end:
        raise ConfigError(f"{document}: expected the lines {start} and {end}, between which the figures go")
    return before, after
