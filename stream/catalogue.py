"""What lifters and detector models there are, for `poselift models`."""

from collections.abc import Callable, Iterator

import lifter
from sources import models


def rows() -> Iterator[str]:
    """Lines of a table: packaged weights, then the detector's models and whether they are here."""
    yield "Lifters (lifter.weights)"
    for spec in lifter.models():
        schedule = spec.schedule
        pruning = f"H2OT keeps {list(schedule.keep)} at {list(schedule.at)}" if schedule else "not pruned"
        yield f"  {spec.name:<8} {spec.arch}, {spec.frames} frames at {spec.rate_hz:g} Hz, {pruning}"
        yield f"  {'':<8} {spec.licence}; trained on {spec.trained_on}; sha256 {spec.sha256[:12]}"
    yield "Detectors (sources.NAME.detector.variant)"
    for file in models.available():
        where = f"{file.path} ({file.origin})" if file.origin else "not here yet; fetched when first needed"
        yield f"  {file.variant:<8} {where}"


def fetch_detector(variant: str, say: Callable[[str], None]) -> None:
    """Get a detector model now and say where it is."""
    say(f"{variant}: {models.fetch(variant)}")
