"""Measure the speed of a lifter on this machine, beside its variants and the machine's peak speed."""

import time
from functools import cache
from typing import Any

import msgspec
import numpy as np
import torch

from lifter.bench import capacity
from lifter.bench.candidates import (
    NAIVE,
    UNPRUNED,
    BenchPlan,
    comparison_runners,
    joint_difference_mm,
    reference_runner,
    runner_with_engine,
    without_cache,
)
from lifter.bench.ceilings import memory_mib, peak_gflops
from lifter.bench.stages import stages_ms
from lifter.bench.timing import (
    DeviceTimer,
    Elapsed,
    Times,
    median_busy_ms,
    median_ms,
    time_live_updates,
    time_windows,
)
from lifter.bench.windows import recorded_windows
from lifter.machine import machine
from lifter.paper import flops
from lifter.runner import Runner
from lifter.spec import LifterSpec

HOPS, LIVE_HZ, MAX_AGE_MS = (1, 5, 10), 50.0, 100.0
_DIFFUSION = ("d3dp", "diffpose")  # run their backbone several times, so FLOPs of a window are not counted


def bench(plan: BenchPlan) -> dict[str, Any]:
    """All figures of one model, as one JSON object."""
    base = reference_runner(plan)
    start = time.perf_counter()
    runner = runner_with_engine(plan, base, plan.engine)
    runner.warm_up()
    ready_s = time.perf_counter() - start
    timer = DeviceTimer(runner.device)
    name = f"own, {runner.engine} {plan.dtype}"
    variants = {name: runner} | comparison_runners(plan, base)
    if plan.dtype == "float32":
        variants.pop(f"own, {runner.engine}", None)
    windows = recorded_windows(base.spec, max(plan.batches))
    full_lifts = {variant: without_cache(other) for variant, other in variants.items()}
    times = time_windows(full_lifts, windows, plan, timer)
    peaks = peak_gflops(timer, plan.quick)
    return _head(plan, runner) | {
        "ready_s": round(ready_s, 2),
        "changed_mm": joint_difference_mm(runner, base),
        "stages_ms": stages_ms(runner, windows[:1], plan, timer),
        "peak_gflops": {product: round(value, 1) for product, value in peaks.items()},
        "rows": _rows(variants, times, max(peaks[product] for product in peaks if "float32" in product)),
        "offline_frames_per_s": round(1e3 / median_ms(times[name][1]) * base.spec.frames, 1),
        "live": [_live(runner, hop, plan, timer) for hop in HOPS],
        "memory_mib": memory_mib(runner.device),
    }


def _head(plan: BenchPlan, runner: Runner) -> dict[str, Any]:
    return {
        "benchmark": "bench",
        "machine": msgspec.to_builtins(machine(str(runner.device))),
        "settings": msgspec.to_builtins(plan),
        "model": runner.spec.name,
        "engine": runner.engine,
        "threads": torch.get_num_threads(),
    }


def _live(runner: Runner, hop: int, plan: BenchPlan, timer: DeviceTimer) -> dict[str, Any]:
    """Figures of live streams whose windows move on by `hop` frames."""
    times = time_live_updates({"": runner}, hop, plan, timer)[""]
    medians = {people: median_ms(measured) for people, measured in times.items()}
    batch_ms = capacity.batch_time_model(list(medians), list(medians.values()))
    wall_ms = [elapsed.wall_ms for elapsed in times[1]]
    return {
        "hop": hop,
        "update_ms": {f"p{p}": round(float(np.percentile(wall_ms, p)), 3) for p in (50, 95, 99)},
        "measured": len(wall_ms),
        "busy_ms": round(median_busy_ms(times[1], runner), 3),
        "updates_per_s": round(1e3 / medians[1], 2),
        "frames_per_s": round(1e3 / medians[1] * hop, 2),
        "update_ms_of_people": {str(people): round(ms, 3) for people, ms in medians.items()},
        "people_simulated": capacity.max_people(batch_ms, hop, LIVE_HZ, MAX_AGE_MS),
    }


def _rows(variants: dict[str, Runner], times: Times, peak: float) -> list[dict[str, Any]]:
    """A row per variant and batch size; peak: GFLOP/s of the fastest float32 product of the same run.

    "speed" is relative to the unpruned model in plain torch. Speeds are computed from busy time.
    """
    rows = []
    for name, measured in times.items():
        gflop = _gflop(variants[name], name == NAIVE)
        for batch, elapsed in measured.items():
            row = {"variant": name, "batch": batch} | _row(elapsed, batch, variants[name])
            busy_ms = median_busy_ms(elapsed, variants[name])
            if batch in times.get(UNPRUNED, {}):
                unpruned_ms = median_busy_ms(times[UNPRUNED][batch], variants[UNPRUNED])
                row |= {"speed": round(unpruned_ms / busy_ms, 3)}
            if gflop is not None:
                gflops = gflop * batch / busy_ms * 1e3
                row |= {"gflop": round(gflop, 3), "gflops": round(gflops, 1)}
                row |= {"of_peak": round(gflops / peak, 3)}
            rows.append(row)
    return rows


def _row(elapsed: list[Elapsed], batch: int, runner: Runner) -> dict[str, Any]:
    """Times of one batch size, in the order of the table."""
    wall_ms = [call.wall_ms for call in elapsed]
    row: dict[str, Any] = {"measured": len(elapsed)}
    row |= {f"p{p}_ms": round(float(np.percentile(wall_ms, p)), 3) for p in (50, 95, 99)}
    row |= {"busy_ms": round(median_busy_ms(elapsed, runner), 3)}
    row |= {"window_ms": round(row["p50_ms"] / batch, 3)}
    return row | {"windows_per_s": round(batch / row["p50_ms"] * 1e3, 3)}


def _gflop(runner: Runner, naive: bool) -> float | None:
    """Billions of operations in matrix products for one window; None for diffusion lifters."""
    if runner.spec.arch in _DIFFUSION:
        return None
    paper, ours = _counts(msgspec.json.encode(runner.spec))
    return (paper if naive else ours).all_flops / 1e9


@cache
def _counts(spec: bytes) -> tuple[flops.FlopCount, flops.FlopCount]:
    """Counts of the paper's computation and of ours, of an encoded spec; cached because it takes seconds."""
    paper, ours, *_ = flops.count_live_update(msgspec.json.decode(spec, type=LifterSpec))
    return paper, ours
