"""`poselift report`: measures a lifter on motion capture and real videos, and writes the documents."""

import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from stream.errors import ConfigError
from stream.terminal import say

PLACE = "report"  # <!-- report --> and <!-- /report --> in the documents
PICTURE = "robustness.png"


def report(
    weights: str,
    data: Path,
    output: Path,
    benchmark: Path | None = None,
    beside: Sequence[str] = (),
    card: Path | None = None,
    quick: bool = False,
) -> None:
    """Write the tables into `output`, and their short form into `card`, between the marks of this place.

    benchmark: a folder of real videos (`stream.filmed`); beside: NAME=FILE of other weights.
    """
    from lifter.training import document, dossier, dossier_page

    others = dossier.pairs(beside)
    if find_spec("matplotlib") is None:
        raise ConfigError("a report needs the package matplotlib; pip install 'poselift[train]'")
    if not (data / dossier.TEST).is_file():
        raise ConfigError(f"{data}: expected a folder with {dossier.TEST}")
    document.check(output, PLACE, new=True)
    if card is not None:
        document.check(card, PLACE)
    videos = []
    if benchmark is not None:
        from stream.filmed import footage

        say("detecting people in the real videos")
        videos = footage(benchmark)
    measured = dossier.measure(weights, data, others, videos, quick, say)
    command = _command(weights, output, benchmark is not None, list(others), card, quick)
    dossier_page.plot(measured, output.with_name(PICTURE))
    document.put(output, PLACE, dossier_page.page(measured, command, PICTURE))
    if card is not None:
        document.put(card, PLACE, dossier_page.card(measured))
    say(f"written: {output}, {output.with_name(PICTURE)}{f', {card}' if card else ''}")


def _command(
    weights: str, output: Path, benchmark: bool, others: Sequence[str], card: Path | None, quick: bool
) -> str:
    """What to type for these figures, whichever folders are one's own."""
    words = ["poselift", "report", weights, "--data", "DIR"]
    words += ["--benchmark", "DIR/benchmark"] if benchmark else []
    for name in others:
        words += ["--beside", shlex.quote(f"{name}={name.replace(' ', '-')}.safetensors")]
    words += ["--out", str(output)]
    words += ["--card", str(card)] if card else []
    return " ".join(words + (["--quick"] if quick else []))
