"""Measures every engine that can compute a lifter here, and remembers the fastest for `engine: auto`.

What counts is the time of the processors: others that use them must not decide.
"""

import logging
import time
from typing import Any

import msgspec
import torch
from msgspec.structs import replace as changed

from lifter.bench.candidates import Plan, changed_mm, live, median_busy_ms, reference, runner_of
from lifter.bench.ceilings import Clock
from lifter.engines import choose as engines
from lifter.engines import tuned
from lifter.machine import machine
from lifter.runner import DTYPES, Runner

log = logging.getLogger("poselift")

MOST_CHANGED_MM = 0.1  # mean distance by which an engine may move joints and still be chosen


def tune(plan: Plan) -> dict[str, Any]:
    """What was measured, as one JSON object. What is timed is one person live: a window for every frame."""
    base = reference(plan)
    dtype = DTYPES[plan.dtype]
    plain = runner_of(plan, base, "eager")
    rows: dict[str, dict[str, Any]] = {}
    runners: dict[str, Runner] = {}
    for engine in engines.ENGINES:
        if why_not := engines.why_unavailable(engine, plain.device.type, dtype):
            rows[engine] = {"why_not": why_not}
            continue
        start = time.perf_counter()
        runners[engine] = runner_of(plan, base, engine)
        runners[engine].warm_up()
        ready_s = round(time.perf_counter() - start, 2)
        # Compared in one number format: what the format itself changes was asked for.
        rows[engine] = {"ready_s": ready_s, "changed_mm": changed_mm(runners[engine], plain)}
    single = changed(plan, batches=(1,))
    for engine, times in live(runners, 1, single, Clock(plain.device)).items():
        rows[engine]["ms"] = round(median_busy_ms(times[1], runners[engine]), 3)
    ms = {engine: rows[engine]["ms"] for engine in runners}
    best = min((e for e in ms if rows[e]["changed_mm"]["mean"] <= MOST_CHANGED_MM), key=ms.__getitem__)
    threads = torch.get_num_threads()
    path = tuned.tuned_path(tuned.network_key(base.model, base.spec), plain.device, dtype, threads)
    tuned.save_result(path, tuned.TuneResult(engine=best, ms=ms))
    return {
        "benchmark": "tune",
        "machine": msgspec.to_builtins(machine(str(plain.device))),
        "settings": msgspec.to_builtins(plan),
        "model": base.spec.name,
        "threads": threads,
        "engines": rows,
        "chosen": best,
    }
