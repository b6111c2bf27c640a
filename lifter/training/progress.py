"""What people see of a training run: a progress bar or lines, `log.csv`, `tests.csv`, `curves.png`."""

import csv
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm


class Report:
    """Writes a row of `log.csv` and a line every `log_steps`; a bar where there is a terminal."""

    def __init__(self, folder: Path, log_steps: int, quiet: bool = False) -> None:
        self.folder, self.log_steps, self.quiet = folder, log_steps, quiet
        self.losses: list[Tensor] = []
        self.bar: tqdm | None = None

    def begin(self, step: int, steps: int) -> None:
        self.steps, self.started, self.logged = steps, time.monotonic(), time.monotonic()
        if sys.stderr.isatty() and not self.quiet:
            self.bar = tqdm(total=steps, initial=step, unit="step", smoothing=0.05)

    def stepped(self, step: int, loss: Tensor, rate: float) -> None:
        """Count a step with its loss and learning rate."""
        self.losses.append(loss)
        if self.bar:
            self.bar.update()
        if self.quiet or not (step % self.log_steps == 0 or step == self.steps):
            return
        now = time.monotonic()
        pace = len(self.losses) / max(now - self.logged, 1e-9)
        mean = torch.stack(self.losses).mean().item()
        self._row(
            "log.csv",
            {"step": step, "loss": f"{mean:.5f}", "lr": f"{rate:.3e}", "steps_per_s": f"{pace:.2f}"},
        )
        minutes, left = (now - self.started) / 60, (self.steps - step) / pace / 60
        self.say(
            f"step {step}/{self.steps}  loss {mean:.4f}  lr {rate:.2e}  {pace:.2f} steps/s  "
            f"{minutes:.1f} min, {left:.1f} to go"
        )
        self.losses, self.logged = [], now

    def tested(self, step: int, metrics: dict[str, float]) -> None:
        """Record the metrics of a test."""
        if metrics and not self.quiet:
            self._row(
                "tests.csv", {"step": step, **{name: f"{value:.3f}" for name, value in metrics.items()}}
            )
            self.say(f"step {step}  " + "  ".join(f"{name} {value:.1f}" for name, value in metrics.items()))

    def end(self) -> None:
        if self.bar:
            self.bar.close()
        if not self.quiet:
            _curves(self.folder)

    def say(self, line: str) -> None:
        if self.bar:
            self.bar.write(line)
        else:
            print(line, flush=True)

    def _row(self, name: str, row: dict[str, Any]) -> None:
        path = self.folder / name
        fresh = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)


def _curves(folder: Path) -> None:
    """Draw loss and test error over steps from the logs into `curves.png`."""
    from matplotlib.figure import Figure  # no window system

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, column, label in (("log.csv", "loss", "loss"), ("tests.csv", "mpjpe", "test MPJPE (mm)")):
        path = folder / name
        if not path.is_file():
            continue
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        where = axes if column == "loss" else axes.twinx()
        where.plot(
            [int(row["step"]) for row in rows], [float(row[column]) for row in rows],
            color="C0" if column == "loss" else "C1", label=label,
        )  # fmt: skip
        where.set_ylabel(label)
    axes.set_xlabel("step")
    axes.set_yscale("log")
    figure.savefig(folder / "curves.png", dpi=120)
