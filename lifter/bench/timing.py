"""Time the lifts of several runners in turns, in wall time and in processor time."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from lifter.bench.candidates import BenchPlan
from lifter.bench.windows import moving_windows
from lifter.runner import Runner
from stream.messages import Window

_MAX_BATCH_TIME = 10  # in units of `seconds`; slower batches are not measured
_MAX_MEASUREMENTS = 300  # of one figure


class Elapsed(NamedTuple):
    """Time of one call: wall time, and processor time summed over all threads of the process."""

    wall_ms: float
    cpu_ms: float

    def busy_ms(self, device: torch.device) -> float:
        """Estimate of the time on an idle machine: on a CPU, the processor time divided by the threads."""
        if device.type != "cpu":
            return self.wall_ms
        return min(self.wall_ms, self.cpu_ms / torch.get_num_threads())


class DeviceTimer:
    """Measures calls, and waits for the device to finish its work before it reads the clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now_ms(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() * 1e3

    def measure(self, call: Callable[[], object]) -> Elapsed:
        start_ms, start_cpu = self.now_ms(), time.process_time()
        call()
        return Elapsed(self.now_ms() - start_ms, (time.process_time() - start_cpu) * 1e3)


Times = dict[str, dict[int, list[Elapsed]]]  # of every lift, by variant and batch size


def time_windows(
    runners: dict[str, Runner], windows: list[Window], plan: BenchPlan, timer: DeviceTimer
) -> Times:
    """Times of full lifts, interleaved: the runners take turns, so other load slows all of them alike."""
    times: Times = {name: {} for name in runners}
    for batch in plan.batches:
        lifts = {
            name: partial(runner.lift, windows[:batch])
            for name, runner in runners.items()
            if _fast_enough(times[name], batch, plan)
        }
        for name, measured in _time_interleaved(lifts, plan, timer).items():
            times[name][batch] = measured
    return times


def time_live_updates(runners: dict[str, Runner], hop: int, plan: BenchPlan, timer: DeviceTimer) -> Times:
    """Times of live updates: windows move on by `hop` frames, and only their newest poses are lifted."""
    times: Times = {name: {} for name in runners}
    for people in plan.batches:
        lifts = {}
        for name, runner in runners.items():
            if _fast_enough(times[name], people, plan):
                windows = moving_windows(runner.spec, people, hop, _MAX_MEASUREMENTS + 3)
                lifts[name] = partial(_update, runner, windows, hop)
        for name, measured in _time_interleaved(lifts, plan, timer).items():
            times[name][people] = measured
    return times


def _update(runner: Runner, windows: Iterator[list[Window]], hop: int) -> None:
    # The time includes making the windows: a few copies of some kilobytes.
    runner.lift(next(windows), min(hop, runner.spec.frames) if runner.spec.output == "sequence" else None)


def _time_interleaved(
    lifts: Mapping[str, Callable[[], object]], plan: BenchPlan, timer: DeviceTimer
) -> dict[str, list[Elapsed]]:
    repeats: dict[str, int] = {}
    times: dict[str, list[Elapsed]] = {}
    for name, lift in lifts.items():
        lift()
        repeats[name] = int(np.clip(1e3 * plan.seconds / timer.measure(lift).wall_ms, 2, _MAX_MEASUREMENTS))
        times[name] = []
    for turn in range(max(repeats.values(), default=0)):
        for name in (name for name, number in repeats.items() if turn < number):
            times[name].append(timer.measure(lifts[name]))
    return times


def _fast_enough(measured: dict[int, list[Elapsed]], batch: int, plan: BenchPlan) -> bool:
    """Whether a batch should take a bearable time, extrapolated from the largest measured batch."""
    if not measured:
        return True
    largest = max(measured)
    return median_ms(measured[largest]) / largest * batch <= 1e3 * _MAX_BATCH_TIME * plan.seconds


def median_ms(times: list[Elapsed]) -> float:
    """Median wall time."""
    return float(np.median([elapsed.wall_ms for elapsed in times]))


def median_busy_ms(times: list[Elapsed], runner: Runner) -> float:
    """Median time of a lift on an idle machine."""
    return float(np.median([elapsed.busy_ms(runner.device) for elapsed in times]))
