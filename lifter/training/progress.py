"""Output of a training run: a progress bar or lines, `log.csv`, `tests.csv`, `curves.png`."""

import csv
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stream.files.cache import write_atomically

if TYPE_CHECKING:
    from rich.progress import Progress

LOSS_LOG, TEST_LOG, PLOT = "log.csv", "tests.csv", "curves.png"


class TrainingLog:
    """Writes a row of `log.csv` and a line every `log_steps`; shows a progress bar on a terminal.

    quiet: write and show nothing, for all processes but the first.
    """

    def __init__(self, folder: Path, log_steps: int, quiet: bool = False) -> None:
        self.folder, self.log_steps, self.quiet = folder, log_steps, quiet
        self.losses: list[Tensor] = []
        self.progress: Progress | None = None

    def begin(self, step: int, steps: int) -> None:
        """Start the clock at `step` of `steps`; rows of later steps, of an interrupted run, are deleted."""
        self.steps, self.started_s, self.logged_s = steps, time.monotonic(), time.monotonic()
        if not self.quiet:
            for name in (LOSS_LOG, TEST_LOG):
                _drop_rows_after(self.folder / name, step)
        if sys.stderr.isatty() and not self.quiet:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self.progress.start()
            self.task = self.progress.add_task("train", total=steps, completed=step)

    def add_step(self, step: int, loss: Tensor, rate: float) -> None:
        """Add the loss and the learning rate of a step."""
        if self.quiet:
            return
        self.losses.append(loss)
        if self.progress:
            self.progress.update(self.task, completed=step)
        if step % self.log_steps != 0 and step != self.steps:
            return
        now_s = time.monotonic()
        steps_per_s = len(self.losses) / max(now_s - self.logged_s, 1e-9)
        mean = torch.stack(self.losses).mean().item()
        row = {"step": step, "loss": f"{mean:.5f}", "lr": f"{rate:.3e}", "steps_per_s": f"{steps_per_s:.2f}"}
        self._append(LOSS_LOG, row)
        minutes, remaining = (now_s - self.started_s) / 60, (self.steps - step) / steps_per_s / 60
        self.print_line(
            f"step {step}/{self.steps}  loss {mean:.4f}  lr {rate:.2e}  {steps_per_s:.2f} steps/s  "
            f"{minutes:.1f} min, {remaining:.1f} to go"
        )
        self.losses, self.logged_s = [], now_s

    def add_test(self, step: int, metrics: dict[str, float]) -> None:
        """Add the metrics of a test; none for a recipe without test data."""
        if metrics and not self.quiet:
            self._append(
                TEST_LOG, {"step": step, **{name: f"{value:.3f}" for name, value in metrics.items()}}
            )
            values = "  ".join(f"{name} {value:.1f}" for name, value in metrics.items())
            self.print_line(f"step {step}  {values}")

    def end(self) -> None:
        """Remove the progress bar and draw `curves.png`."""
        if self.progress:
            self.progress.stop()
        if not self.quiet:
            _plot(self.folder)

    def print_line(self, line: str) -> None:
        """Print a line, above the progress bar where there is one."""
        if self.progress:
            self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def _append(self, name: str, row: dict[str, Any]) -> None:
        path = self.folder / name
        is_new = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def _drop_rows_after(path: Path, step: int) -> None:
    """Delete the rows of a log whose step is above `step`."""
    if not path.is_file():
        return
    head, *rows = path.read_text().splitlines(keepends=True) or [""]
    kept = [row for row in rows if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) <= step]
    with write_atomically(path) as temporary:
        temporary.write_text("".join([head, *kept]))


def _plot(folder: Path) -> None:
    """Draw loss and test error over steps from the logs into `curves.png`, where matplotlib is installed."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure  # no window system

    figure = Figure(figsize=(7, 4), layout="constrained")
    loss_axes = figure.add_subplot()
    for name, column, label in ((LOSS_LOG, "loss", "loss"), (TEST_LOG, "mpjpe", "test MPJPE (mm)")):
        path = folder / name
        if not path.is_file():
            continue
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        axes = loss_axes if column == "loss" else loss_axes.twinx()
        axes.plot(
            [int(row["step"]) for row in rows], [float(row[column]) for row in rows],
            color="C0" if column == "loss" else "C1", label=label,
        )  # fmt: skip
        axes.set_ylabel(label)
    loss_axes.set_xlabel("step")
    loss_axes.set_yscale("log")
    figure.savefig(folder / PLOT, dpi=120)
