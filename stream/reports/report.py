"""`poselift report`: measures a lifter on motion capture and real videos, and writes the documents."""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from stream.errors import ConfigError

PLACE = "report"  # <!-- report --> and <!-- /report --> in the documents
PICTURE = "robustness.png"


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What is to be measured, and where it is written.

    weights: packaged, or a file; data: a folder of motion capture; output: the document of all tables, beside
    which the picture is put; benchmark: a folder of real videos (`stream.filmed`); beside: NAME=FILE of other
    weights; card: a document that quotes the first tables; extent: see `lifter.training.dossier`.
    """

    weights: str
    data: Path
    output: Path
    benchmark: Path | None = None
    beside: tuple[str, ...] = ()
    card: Path | None = None
    extent: Literal["full", "brief", "quick"] = "full"

    def command(self, others: Iterable[str]) -> str:
        """What to type for these figures, whichever folders are one's own."""
        words = ["poselift", "report", self.weights, "--data", "DIR"]
        words += ["--benchmark", "DIR/benchmark"] if self.benchmark else []
        for name in others:
            words += ["--beside", shlex.quote(f"{name}={name.replace(' ', '-')}.safetensors")]
        words += ["-o", str(self.output)]
        words += ["--card", str(self.card)] if self.card else []
        return " ".join(words + ([] if self.extent == "full" else [f"--{self.extent}"]))


def report(order: ReportRequest, say: Callable[[str], None]) -> None:
    """Write all tables into one document and their short form into another, between the marks there."""
    from lifter.evaluation import markdown as document
    from lifter.evaluation import report as dossier
    from lifter.evaluation import report_page as dossier_page
    from lifter.evaluation import report_robustness as dossier_disturbed

    others = dossier.pairs(order.beside)
    if find_spec("matplotlib") is None:
        raise ConfigError("a report needs the package matplotlib; pip install 'poselift[train]'")
    if not (order.data / dossier.TEST).is_file():
        raise ConfigError(f"{order.data}: expected a folder with {dossier.TEST}")
    document.check(order.output, PLACE, new=True)
    if order.card is not None:
        document.check(order.card, PLACE)
    videos, live = [], None
    if order.benchmark is not None:
        from stream.reports.real_videos import labelled_videos, published_poses

        say("detecting people in the real videos")
        videos, live = labelled_videos(order.benchmark), partial(published_poses, order.weights)
    found = dossier.measure(order.weights, order.data, others, videos, live, order.extent, say)
    if found.disturbed:
        dossier_disturbed.plot(found.disturbed, found.spec.name, order.output.with_name(PICTURE))
    document.put(order.output, PLACE, dossier_page.page(found, order.command(others), PICTURE))
    if order.card is not None:
        document.put(order.card, PLACE, dossier_page.card(found))
    say(f"written: {order.output}")
