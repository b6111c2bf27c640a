"""How fast a lifter is here, against other ways to compute it and against what this machine could do."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from lifter import normalise
from lifter.bench import capacity
from lifter.bench.candidates import (
    AS_WRITTEN,
    UNPRUNED,
    Plan,
    Times,
    changed_mm,
    forgetful,
    hourglass_of,
    in_turns,
    live,
    median_busy_ms,
    median_ms,
    others,
    recorded,
    reference,
    runner_of,
)
from lifter.bench.ceilings import Clock, memory_mib, peaks
from lifter.h2ot import pipelines
from lifter.h2ot.recover import Head
from lifter.machine import machine
from lifter.paper import flops
from lifter.runner import Runner
from lifter.spec import LifterSpec
from stream.messages import Window

HOPS, LIVE_HZ, LIMIT_MS = (1, 5, 10), 50.0, 100.0
_PASSES = ("d3dp", "diffpose")  # make a pose in several passes, whose number no count of FLOPs knows


def bench(plan: Plan) -> dict[str, Any]:
    """All figures of one model, as one JSON object."""
    base = reference(plan)
    start = time.perf_counter()
    runner = runner_of(plan, base, plan.engine)
    runner.warm_up()
    ready_s = time.perf_counter() - start
    name, clock = f"own, {runner.engine} {plan.dtype}", Clock(runner.device)
    variants = {name: runner} | others(plan, base)
    if plan.dtype == "float32":
        variants.pop(f"own, {runner.engine}", None)
    windows = recorded(base.spec, max(plan.batches))
    times = in_turns({each: forgetful(variant) for each, variant in variants.items()}, windows, plan, clock)
    ceilings = peaks(clock, plan.quick)
    return {
        "benchmark": "bench",
        "machine": msgspec.to_builtins(machine(str(runner.device))),
        "settings": msgspec.to_builtins(plan),
        "model": base.spec.name,
        "engine": runner.engine,
        "threads": torch.get_num_threads(),
        "ready_s": round(ready_s, 2),
        "changed_mm": changed_mm(runner, base),
        "stages_ms": _stages(runner, windows[:1], plan, clock),
        "peak_gflops": {which: round(value, 1) for which, value in ceilings.items()},
        "rows": _rows(variants, times, max(ceilings[which] for which in ceilings if "float32" in which)),
        "offline_frames_per_s": round(1e3 / median_ms(times[name][1]) * base.spec.frames, 1),
        "live": [_live(runner, hop, plan, clock) for hop in HOPS],
        "memory_mib": memory_mib(runner.device),
    }


def _live(runner: Runner, hop: int, plan: Plan, clock: Clock) -> dict[str, Any]:
    """What streams get whose windows move on by `hop` frames."""
    times = live({"": runner}, hop, plan, clock)[""]
    medians = {people: median_ms(took) for people, took in times.items()}
    estimate = capacity.between(list(medians), list(medians.values()))
    wall = [took.wall_ms for took in times[1]]
    return {
        "hop": hop,
        "update_ms": {f"p{p}": round(float(np.percentile(wall, p)), 3) for p in (50, 95, 99)},
        "measured": len(wall),
        "busy_ms": round(median_busy_ms(times[1], runner), 3),
        "updates_per_s": round(1e3 / medians[1], 2),
        "frames_per_s": round(1e3 / medians[1] * hop, 2),
        "update_ms_of_people": {str(people): round(ms, 3) for people, ms in medians.items()},
        "people_simulated": capacity.people(estimate, hop, LIVE_HZ, LIMIT_MS),
    }


def _rows(variants: dict[str, Runner], times: Times, peak_gflops: float) -> list[dict[str, Any]]:
    """A row per variant and batch. Speeds are of the time the lifter had the processors to itself.

    Shares are those of the best product in float32 measured in the same run; speed is how many times as
    fast as the unpruned model in plain torch.
    """
    rows = []
    for name, measured in times.items():
        runner = variants[name]
        gflop = _gflop(runner, name == AS_WRITTEN)
        for batch, took in measured.items():
            wall = [each.wall_ms for each in took]
            row: dict[str, Any] = {"variant": name, "batch": batch, "measured": len(took)}
            row |= {f"p{p}_ms": round(float(np.percentile(wall, p)), 3) for p in (50, 95, 99)}
            busy_ms = median_busy_ms(took, runner)
            row |= {"busy_ms": round(busy_ms, 3), "window_ms": round(row["p50_ms"] / batch, 3)}
            row |= {"windows_per_s": round(batch / row["p50_ms"] * 1e3, 3)}
            if batch in times.get(UNPRUNED, {}):
                whole_ms = median_busy_ms(times[UNPRUNED][batch], variants[UNPRUNED])
                row |= {"speed": round(whole_ms / busy_ms, 3)}
            if gflop is not None:
                gflops = gflop * batch / busy_ms * 1e3
                row |= {"gflop": round(gflop, 3), "gflops": round(gflops, 1)}
                row |= {"of_peak": round(gflops / peak_gflops, 3)}
            rows.append(row)
    return rows


def _gflop(runner: Runner, as_written: bool) -> float | None:
    """Billions of operations that one window takes here, in matrix products."""
    if runner.spec.arch in _PASSES:
        return None
    written, frugal = _counts(msgspec.json.encode(runner.spec))
    return (written if as_written else frugal).all_flops / 1e9


@cache
def _counts(spec: bytes) -> tuple[flops.Count, flops.Count]:
    """What a model costs as the paper computes it and as it is computed here; counting takes seconds."""
    written, frugal, *_ = flops.live(msgspec.json.decode(spec, type=LifterSpec))
    return written, frugal


@torch.inference_mode()
def _stages(runner: Runner, windows: list[Window], plan: Plan, clock: Clock) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 of each step of lifting one window, and of the whole."""
    spec = runner.spec
    keypoints = torch.from_numpy(np.stack([window.keypoints for window in windows])).to(clock.device)
    size_wh = torch.tensor([window.size_wh for window in windows], dtype=torch.float32, device=clock.device)
    x, context = normalise.encode(keypoints, size_wh, spec)
    network = pipelines.seq2frame if spec.output == "centre" else pipelines.seq2seq
    poses = network(runner.network, x).float().expand(-1, spec.frames, -1, -1)
    whole = forgetful(runner)
    steps: dict[str, Callable[[], object]] = {
        "normalise": lambda: normalise.encode(keypoints, size_wh, spec),
        "network": lambda: network(runner.network, x),
        "decode": lambda: normalise.decode(poses, context),
        "whole": lambda: whole.lift(windows),
    }
    found: dict[str, dict[str, float]] = {}
    for name, step in steps.items():
        number = int(np.clip(1e3 * plan.seconds / clock.took(step).wall_ms, 3, 300))
        found[name] = _percentiles([clock.took(step).wall_ms for _ in range(number)])
    if runner.network is runner.model:
        passes = range(int(found["network"]["measured"]))
        own = [_hourglass_ms(runner, steps["network"], clock) for _ in passes]
        found["prune, recover"] = _percentiles(own)
    return found


def _percentiles(times: list[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(times, p)), 3) for p in (50, 95, 99)} | {
        "measured": len(times)
    }


def _hourglass_ms(runner: Runner, network: Callable[[], object], clock: Clock) -> float:
    """What pruning and recovering take of one pass, the regression head not counted (0 % in the paper)."""
    hourglass, own_ms = hourglass_of(runner), 0.0
    prune, recover = hourglass.prune, hourglass.recover

    def timed(call: Callable[..., Any], sign: int = 1) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal own_ms
            start_ms = clock.now_ms()
            answer = call(*arguments)
            own_ms += sign * (clock.now_ms() - start_ms)
            return answer

        return counted

    def without_head(tokens: Tensor, frame_indices: Tensor, head: Head, rows: slice | None = None) -> Tensor:
        return timed(recover)(tokens, frame_indices, timed(head, -1), rows)

    hourglass.prune, hourglass.recover = timed(prune), without_head  # type: ignore[method-assign]
    try:
        network()
    finally:
        del hourglass.prune, hourglass.recover
    return own_ms
