"""`poselift report`: measures a lifter on motion capture and on videos, and writes its documents."""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from stream.errors import ConfigError

MARKER = "report"  # the tables are put between <!-- report --> and <!-- /report -->
FIGURE = "robustness.png"


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What to measure, and the documents to write.

    weights: packaged name or file
    data: folder of motion capture
    output: document for all tables; the figure is put beside it
    benchmark: folder of labelled videos (`stream.reports.real_videos`)
    beside: NAME=FILE of other weights to compare with
    card: document for the first tables
    extent: brief leaves out the robustness tests, quick also uses few clips
    """

    weights: str
    data: Path
    output: Path
    benchmark: Path | None = None
    beside: tuple[str, ...] = ()
    card: Path | None = None
    extent: Literal["full", "brief", "quick"] = "full"

    def command(self, others: Iterable[str]) -> str:
        """The command that reproduces the tables, with DIR in place of local folders."""
        words = ["poselift", "report", self.weights, "--data", "DIR"]
        words += ["--benchmark", "DIR/benchmark"] if self.benchmark else []
        for name in others:
            words += ["--beside", shlex.quote(f"{name}={name.replace(' ', '-')}.safetensors")]
        words += ["-o", str(self.output)]
        words += ["--card", str(self.card)] if self.card else []
        return " ".join(words + ([] if self.extent == "full" else [f"--{self.extent}"]))


def report(request: ReportRequest, print_line: Callable[[str], None]) -> None:
    """Measure, then write all tables into the output document and the first ones into the card.

    print_line: prints a line of progress. ConfigError, before the measuring, for missing files and packages.
    """
    from lifter.reports import markdown, page, robustness_page
    from lifter.reports.measure import TEST_FILE, ReportPlan, measure, weights_by_name

    others = weights_by_name(request.beside)
    if find_spec("matplotlib") is None:
        raise ConfigError("a report needs the package matplotlib; pip install 'poselift[train]'")
    if not (request.data / TEST_FILE).is_file():
        raise ConfigError(f"{request.data}: expected a folder with {TEST_FILE}")
    markdown.check_section(request.output, MARKER, may_create=True)
    if request.card is not None:
        markdown.check_section(request.card, MARKER)
    videos, live = [], None
    if request.benchmark is not None:
        from stream.reports.real_videos import labelled_videos, published_poses

        print_line("detecting people in the videos")
        videos, live = labelled_videos(request.benchmark), partial(published_poses, request.weights)
    measured = measure(
        ReportPlan(request.weights, request.data, others, videos, live, request.extent), print_line
    )
    if measured.robustness:
        robustness_page.plot(measured.robustness, measured.spec.name, request.output.with_name(FIGURE))
    text = page.page(measured, request.command(others), FIGURE)
    markdown.write_section(request.output, MARKER, text)
    if request.card is not None:
        markdown.write_section(request.card, MARKER, page.card(measured))
    print_line(f"written: {request.output}")
