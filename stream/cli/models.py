"""The command that lists the packaged lifters and the detector's models."""

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
        typer.Option(help="Get this detector model (lite, full, heavy) ahead of time.", metavar="VARIANT"),
    ] = None,
) -> None:
    """List the lifters' weights and the detector's models; --fetch gets a detector model now."""
    if fetch is not None:
        print_line(f"{fetch}: {model_files.fetch(fetch)}")
    for row in rows():
        print_line(row)


def rows() -> Iterator[str]:
    """Lines of a table: packaged weights, then the detector's models and whether they are here."""
    yield "Lifters (lifter.weights)"
    for spec in lifter.models():
        schedule = spec.schedule
        pruning = f"H2OT keeps {list(schedule.keep)} at {list(schedule.at)}" if schedule else "not pruned"
        yield f"  {spec.name:<8} {spec.arch}, {spec.frames} frames at {spec.rate_hz:g} Hz, {pruning}"
        yield f"  {'':<8} {spec.licence}; trained on {spec.trained_on}; sha256 {spec.sha256[:12]}"
    yield "Detectors (sources.NAME.detector.variant)"
    for file in model_files.available():
        where = f"{file.path} ({file.origin})" if file.origin else "not here yet; fetched when first needed"
        yield f"  {file.variant:<8} {where}"
