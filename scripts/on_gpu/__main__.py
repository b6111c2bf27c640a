"""Runs the GPU's tests, measures its speed, and trains for the remaining minutes; see `scripts/on-gpu`.

Every part writes its result to OUT/report.json when it ends, so that a machine taken away early has lost
only the part at work. The parts stop in time: tests and tables have shares of the minutes, training has the
rest.
"""

import argparse
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lifter.bench.benchmark import bench
from lifter.bench.candidates import BenchPlan
from lifter.bench.paper_table import TABLES, bench_paper_table
from scripts.on_gpu.run import Run, device
from scripts.on_gpu.training import train

TESTS_SHARE, SPEED_SHARE, PAPER_SHARE = 0.2, 0.2, 0.15  # of the minutes, at most
SPEED_PLANS = (
    ("small", "float32"),
    ("small", "float16"),
    ("medium", "float16"),
    ("medium", "bfloat16"),
    ("mixste", "bfloat16"),
)


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
