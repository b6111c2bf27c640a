"""Runs the GPU's tests, measures its speed, and trains for the remaining minutes; see `scripts/on-gpu`.

Every part writes its result to OUT/report.json when it ends, so that a machine taken away early has lost
only the part at work. The parts stop in time: tests and tables have shares of the minutes, training has the
rest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.profiler import ProfilerActivity, profile

from lifter import weights
from lifter.bench.benchmark import bench
from lifter.bench.candidates import BenchPlan
from lifter.bench.paper_table import TABLES, bench_paper_table
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.evaluate import evaluate
from lifter.evaluation.metrics import MEAN_OF_ROWS
from lifter.machine import machine
from lifter.training import dry_run, recipe, sources
from lifter.training.loop import Trainer
from lifter.training.progress import LOSS_LOG, PLOT, TrainingLog
from lifter.training.recipe import Recipe
from lifter.training.train import initial_model, new_trainer

RECIPE = Path("configs/train/medium-gpu.yaml")
TESTS_SHARE, SPEED_SHARE, PAPER_SHARE = 0.2, 0.2, 0.15  # of the minutes, at most
TEST_SHARE = 0.05  # of the minutes, for each test of the weights
RESERVE_S = 15.0  # to write the results
SPEED_PLANS = (
    ("small", "float32"),
    ("small", "float16"),
    ("medium", "float16"),
    ("medium", "bfloat16"),
    ("mixste", "bfloat16"),
)
CALIBRATION_STEPS, REHEARSED_STEPS = 20, 4  # per stage
MAX_HALVINGS = 5  # of the batches, when the memory of the device is too small


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


def run_tests(run: Run) -> dict[str, Any]:
    """The tests marked `gpu`; on a machine without a GPU all of them are skipped."""
    if find_spec("pytest") is None:
        return {"not run": "pytest is not installed: pip download -d wheels pytest"}
    results = run.out / "gpu-tests.xml"
    # The options of pyproject.toml name plugins that are not needed here.
    options = ["-m", "gpu", "-o", "addopts=--import-mode=importlib", "-q", "-rfEs", f"--junitxml={results}"]
    # Those of the live system need ZeroMQ, too.
    folder = Path("tests/lifter" if find_spec("zmq") is None else "tests")
    files = [str(path) for path in sorted(folder.rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", *options, *files]
    try:
        printed = subprocess.run(
            command, timeout=run.deadline.part_s(TESTS_SHARE), capture_output=True, text=True
        ).stdout
    except subprocess.TimeoutExpired:
        return {"error": f"the tests took longer than {run.deadline.part_s(TESTS_SHARE):.0f} s"}
    counts = ElementTree.parse(results).getroot().find("testsuite")
    assert counts is not None
    names = ("tests", "failures", "errors", "skipped")
    return {name: int(counts.get(name, "0")) for name in names} | {"output": printed[-6000:]}


def measure_speed(run: Run) -> dict[str, Any]:
    """`poselift bench` of each plan while time remains."""
    ends_s = time.monotonic() + run.deadline.part_s(SPEED_SHARE)
    tables: dict[str, Any] = {}
    for model, dtype in SPEED_PLANS[: 1 if run.rehearse else None]:
        if time.monotonic() > ends_s:
            tables[f"{model}, {dtype}"] = "not measured: no time remained"
            continue
        plan = BenchPlan(model=model, dtype=dtype, device=device(), seconds=1.0)
        if run.rehearse:
            plan = plan.shortened()
        try:
            table = bench(plan)
        except Exception as error:  # the other rows still count
            tables[f"{model}, {dtype}"] = f"{type(error).__name__}: {error}"
            continue
        tables[f"{model}, {dtype}"] = _summary(table)
        (run.out / f"bench-{model}-{dtype}.json").write_text(json.dumps(table, indent=1) + "\n")
    return tables


def measure_paper(run: Run) -> dict[str, Any]:
    """`poselift bench --paper` of each table while time remains."""
    ends_s = time.monotonic() + run.deadline.part_s(PAPER_SHARE)
    plan = BenchPlan(device=device(), seconds=0.3)
    tables: dict[str, Any] = {}
    for table in TABLES[-1:] if run.rehearse else TABLES:
        if time.monotonic() > ends_s:
            tables[str(table)] = "not measured: no time remained"
            continue
        tables[str(table)] = bench_paper_table(table, plan.shortened() if run.rehearse else plan)["rows"]
    return tables


def _summary(table: dict[str, Any]) -> dict[str, Any]:
    """The figures that decide: per hop p99 and people, and the share of the peak of the largest batch."""
    own = [row for row in table["rows"] if row["variant"].startswith("own, ") and "gflops" in row]
    largest = max(own, key=lambda row: (row["batch"], row["gflops"]))
    peak = max(table["peak_gflops"].values())
    live = {
        f"hop {row['hop']}": {"p99_ms": row["update_ms"]["p99"], "people": row["people_simulated"]}
        for row in table["live"]
    }
    return {
        "engine": table["engine"],
        "batch": largest["batch"],
        "of_peak": round(largest["gflops"] / peak, 3),
        "moved_mm": table["changed_mm"],
        "live": live,
    }


def train(run: Run) -> dict[str, Any]:
    """Train for the remaining time; the weights, the log and the curves are copied to OUT."""
    if run.data is None and not run.rehearse:
        return {"not run": "expected --data FOLDER with motion_train.npz and motion_test.npz"}
    with tempfile.TemporaryDirectory() as temporary:
        plan, data = _recipe(run, Path(temporary))
        steps = REHEARSED_STEPS if run.rehearse else CALIBRATION_STEPS
        plan, seconds = _calibrated(plan, data, Path(temporary) / "calibration", steps)
        busy = _busy_share(plan, data, Path(temporary) / "profile", steps)
        held_out = list(sources.held_out_sequences(plan, data))
        part_s = run.deadline.part_s(TEST_SHARE)
        before = _test(initial_model(plan).to(device()), plan, held_out, part_s)
        plan = _fitted(plan, seconds, run.deadline.remaining_s() - part_s - RESERVE_S)
        trainer = new_trainer(plan, data, Path(temporary) / "run")
        log = TrainingLog(trainer.folder, plan.log_steps)
        stop = threading.Timer(run.deadline.remaining_s() - part_s - RESERVE_S, trainer.request_stop)
        stop.start()
        try:
            trainer.fit(log, dict)
        except SystemExit:
            print("stopped by the clock", flush=True)
        finally:
            stop.cancel()
        model = trainer.trained_model()
        weights.save(run.out / f"{plan.lifter.name}.safetensors", model, plan.lifter)
        for name in (LOSS_LOG, PLOT):
            if (trainer.folder / name).is_file():
                (run.out / name).write_bytes((trainer.folder / name).read_bytes())
        after = _test(model, plan, held_out, part_s)
    return {
        "steps": trainer.step,
        "stages": msgspec.to_builtins(plan.stages),
        "seconds_per_step": [round(value, 4) for value in seconds],
        "device": busy,
        "before": before,
        "after": after,
    }


def _recipe(run: Run, folder: Path) -> tuple[Recipe, Path]:
    """The recipe and the folder of its data; a rehearsal has a narrow network and synthetic data."""
    plan = recipe.load(RECIPE)
    if run.start_from is not None:
        plan = msgspec.structs.replace(plan, start_from=str(run.start_from))
    if run.rehearse:
        return dry_run.shrink(plan, folder), folder
    assert run.data is not None
    return plan, run.data


def _calibrated(plan: Recipe, data: Path, folder: Path, steps: int) -> tuple[Recipe, list[float]]:
    """The recipe with batches that fit into the memory, and the seconds of a step of each of its stages."""
    for _ in range(MAX_HALVINGS):
        try:
            stages = range(len(plan.stages))
            return plan, [_step_s(plan, data, folder / str(stage), stage, steps) for stage in stages]
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            halved = [msgspec.structs.replace(s, batch=max(1, s.batch // 2)) for s in plan.stages]
            plan = msgspec.structs.replace(plan, stages=tuple(halved))
    raise torch.OutOfMemoryError(f"expected memory for batches of {[s.batch for s in plan.stages]} windows")


def _step_s(plan: Recipe, data: Path, folder: Path, stage: int, steps: int) -> float:
    """Seconds of a training step of one stage, after half of the steps as warm-up."""
    trainer = _short_trainer(plan, data, folder, stage, steps)
    trainer.fit(TrainingLog(folder, steps // 2), dict)
    last_row = (folder / LOSS_LOG).read_text().splitlines()[-1]
    return 1 / max(1e-3, float(last_row.rpartition(",")[2]))


def _short_trainer(plan: Recipe, data: Path, folder: Path, stage: int, steps: int) -> Trainer:
    stages = (msgspec.structs.replace(plan.stages[stage], steps=steps),)
    return new_trainer(msgspec.structs.replace(plan, stages=stages), data, folder)


def _busy_share(plan: Recipe, data: Path, folder: Path, steps: int) -> dict[str, Any]:
    """Share of the time in which the device computes, in the last stage's steps, and its longest kernels."""
    trainer = _short_trainer(plan, data, folder, len(plan.stages) - 1, steps)
    on_gpu = trainer.device.type == "cuda"
    activities = [ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiled:
        started_s = time.monotonic()
        trainer.fit(TrainingLog(folder, steps), dict)
        if on_gpu:
            torch.cuda.synchronize()
        wall_s = time.monotonic() - started_s
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times_us = {event.key: float(getattr(event, attribute)) for event in profiled.key_averages()}
    longest = sorted(times_us.items(), key=lambda item: -item[1])[:15]
    return {
        "busy": round(sum(times_us.values()) / 1e6 / wall_s, 3),
        "ms_per_step": {name[:80]: round(us / 1e3 / steps, 3) for name, us in longest},
    }


def _fitted(plan: Recipe, step_s: list[float], seconds: float) -> Recipe:
    """The recipe with as many steps as fit into the seconds; the stages keep their shares of the time."""
    planned_s = sum(stage.steps * each for stage, each in zip(plan.stages, step_s, strict=True))
    scale = 0.95 * max(seconds, 1.0) / planned_s
    stages = [msgspec.structs.replace(s, steps=max(1, int(s.steps * scale))) for s in plan.stages]
    return msgspec.structs.replace(plan, stages=tuple(stages))


def _test(
    model: torch.nn.Module, plan: Recipe, held_out: list[LabelledSequence], seconds: float
) -> dict[str, Any]:
    """Errors on the held-out clips that can be lifted within the seconds, spread evenly over all of them."""
    lifted = 0

    def while_time_remains() -> Iterator[LabelledSequence]:
        nonlocal lifted
        ends_s = time.monotonic() + seconds
        stride = max(1, len(held_out) // 50)
        for first in range(stride):
            for sequence in held_out[first::stride]:
                if lifted and time.monotonic() > ends_s:
                    return
                lifted += 1
                yield sequence

    rows = evaluate(model, plan.lifter, while_time_remains()).rows()
    mean = rows.get(MEAN_OF_ROWS) or next(iter(rows.values()))
    return {"clips": lifted} | {name: round(value, 2) for name, value in mean.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("minutes", type=float, help="time in which the script ends")
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--data", type=Path, help="folder of motion_train.npz and motion_test.npz")
    parser.add_argument("--from", dest="start_from", type=Path, help="weights that the training starts from")
    parser.add_argument(
        "--rehearse", action="store_true", help="small and on synthetic data; its figures mean nothing"
    )
    run = Run(parser.parse_args())
    run.part("tests", run_tests)
    run.part("speed", measure_speed)
    run.part("paper", measure_paper)
    run.part("training", train)
    print(f"results: {run.out}", flush=True)
    if any("error" in part for part in run.report.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
