"""One run of the script: its minutes, its options, and the report that every part adds to."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from lifter.machine import machine

RESERVE_S = 15.0  # to write the results


class Deadline:
    """The minutes of a run."""

    def __init__(self, minutes: float) -> None:
        self.total_s, self.started_s = 60 * minutes, time.monotonic()

    def remaining_s(self) -> float:
        return self.total_s - (time.monotonic() - self.started_s)

    def part_s(self, share: float) -> float:
        """Seconds of a part that may take a share of the minutes."""
        return max(1.0, min(share * self.total_s, self.remaining_s() - RESERVE_S))


class Run:
    """One call of this script: what to do, and where the results go."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.deadline = Deadline(options.minutes)
        self.out: Path = options.out
        self.rehearse: bool = options.rehearse
        self.data: Path | None = options.data
        self.start_from: Path | None = options.start_from
        self.out.mkdir(parents=True, exist_ok=True)
        self.report: dict[str, Any] = {"machine": msgspec.to_builtins(machine(device()))}

    def part(self, name: str, work: Callable[["Run"], dict[str, Any]]) -> None:
        """Run a part and store its result, or its error: the next parts run all the same."""
        print(f"== {name}: {self.deadline.remaining_s():.0f} s remain", flush=True)
        started_s = time.monotonic()
        try:
            result = work(self)
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        self.report[name] = result | {"seconds": round(time.monotonic() - started_s, 1)}
        (self.out / "report.json").write_text(json.dumps(self.report, indent=1) + "\n")
        print(json.dumps(self.report[name])[:2000], flush=True)


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
