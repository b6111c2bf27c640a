"""The command that lists the packaged weights and the detector's model files."""

from collections.abc import Iterator
from typing import Annotated

import typer

import lifter
from sources.mediapipe import model_files
from stream.cli.output import print_line

app = typer.Typer()


@app.command()
def models(
    fetch: Annotated[
        str | None,
        typer.Option(
            help="Download this variant of the detector now (lite, full, heavy) instead of at first use.",
            metavar="VARIANT",
        ),
    ] = None,
) -> None:
    """List packaged weights and detector models."""
    if fetch is not None:
        print_line(f"{fetch}: {model_files.fetch(fetch)}")
    for line in lines():
        print_line(line)


def lines() -> Iterator[str]:
    """Lines of text: the packaged weights, then the detector's models and where their files are."""
    yield "Lifter weights (setting lifter.weights)"
    for spec in lifter.models():
        schedule = spec.schedule
        pruning = (
            f"H2OT pruning keeps {_listed(schedule.keep)} frames at blocks {_listed(schedule.at)}"
            if schedule
            else "no pruning"
        )
        yield f"  {spec.name:<8} {spec.arch}, {spec.frames} frames at {spec.rate_hz:g} Hz, {pruning}"
        yield f"  {'':<8} licence {spec.licence}; trained on {spec.trained_on}; sha256 {spec.sha256[:12]}"
    yield "Detector models (setting sources.NAME.detector.variant)"
    for file in model_files.available():
        place = f"{file.path} ({file.origin})" if file.origin else "not downloaded; downloaded at first use"
        yield f"  {file.variant:<8} {place}"


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
