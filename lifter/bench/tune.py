"""Measure every engine that can compute a lifter on this machine, and store the fastest for `engine: auto`.

Engines are compared by busy time, so that other load on the machine does not decide.
"""

import time
from typing import Any

import msgspec
import torch
from msgspec.structs import replace

from lifter.bench.candidates import BenchPlan, joint_difference_mm, reference_runner, runner_with_engine
from lifter.bench.timing import DeviceTimer, median_busy_ms, time_live_updates
from lifter.engines import choose as engines
from lifter.engines import tuned
from lifter.machine import machine
from lifter.runner import DTYPES, Runner

MAX_DIFFERENCE_MM = 0.1  # largest mean difference of joints at which an engine may be chosen


def tune(plan: BenchPlan) -> dict[str, Any]:
    """All measurements and the chosen engine, as one JSON object; stores the choice in the cache folder.

    The measured work is one person live: a window for every frame.
    """
    base = reference_runner(plan)
    dtype = DTYPES[plan.dtype]
    plain = runner_with_engine(plan, base, "eager")
    rows: dict[str, dict[str, Any]] = {}
    runners: dict[str, Runner] = {}
    for engine in engines.ENGINES:
        if why_not := engines.why_unavailable(engine, plain.device.type, dtype):
            rows[engine] = {"why_not": why_not}
            continue
        start = time.perf_counter()
        try:
            runner = runner_with_engine(plan, base, engine)
            runner.warm_up()
            ready_s = round(time.perf_counter() - start, 2)
            # Both have the number format of the plan, so the difference is that of the engine alone.
            rows[engine] = {"ready_s": ready_s, "changed_mm": joint_difference_mm(runner, plain)}
        except Exception as error:  # libraries raise types of their own; the other engines are measured
            rows[engine] = {"why_not": f"failed: {error}"}
            continue
        runners[engine] = runner
    one_person = replace(plan, batches=(1,))
    for engine, times in time_live_updates(runners, 1, one_person, DeviceTimer(plain.device)).items():
        rows[engine]["ms"] = round(median_busy_ms(times[1], runners[engine]), 3)
    ms = {engine: rows[engine]["ms"] for engine in runners}
    exact = [engine for engine in ms if rows[engine]["changed_mm"]["mean"] <= MAX_DIFFERENCE_MM]
    fastest = min(exact, key=ms.__getitem__)
    threads = torch.get_num_threads()
    path = tuned.tuned_path(tuned.network_key(base.model, base.spec), plain.device, dtype, threads)
    tuned.save_result(path, tuned.TuneResult(engine=fastest, ms=ms))
    return {
        "benchmark": "tune",
        "machine": msgspec.to_builtins(machine(str(plain.device))),
        "settings": msgspec.to_builtins(plan),
        "model": base.spec.name,
        "threads": threads,
        "engines": rows,
        "chosen": fastest,
    }
