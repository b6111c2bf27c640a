"""A lifter and the variants to compare it with, timed in turns on windows of the packaged recording."""

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

import msgspec
import numpy as np
from msgspec.structs import replace

from lifter.bench.ceilings import DeviceTimer, Elapsed
from lifter.engines import choose as engines
from lifter.h2ot.hourglass import Hourglass
from lifter.runner import Runner
from lifter.samples import cut_window, open_lifter, recording_as_window
from lifter.spec import LifterSpec, Schedule
from lifter.weights import ARCHS, build
from stream.errors import ConfigError
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import JointOrigin, Window

NAIVE = "own, eager, as the paper writes it"
UNPRUNED = "unpruned, eager"
# The block of HoT's single clustering stage (published before H2OT), by architecture.
_HOT_BLOCK = {"mixste": 3, "mhformer": 1, "motionbert": 1, "motionagformer": 7, "d3dp": 3, "diffpose": 3}
_MAX_BATCH_TIME = 10  # in units of `seconds`; slower batches are not measured
_MAX_MEASUREMENTS = 300  # of one figure

Times = dict[str, dict[int, list[Elapsed]]]  # of every lift, by variant and batch size


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure.

    model: weights by name or file, or an architecture (full size, random weights). device, dtype, threads,
    engine: as `Runner` takes them. seconds: approximate time for each figure. batches: numbers of windows,
    rising from 1. quick: a narrow model of an architecture and small matrix products, for a dry run.
    """

    model: str = "small"
    device: str = "auto"
    dtype: str = "float32"
    threads: int | None = None
    engine: str = "auto"
    seconds: float = 3.0
    batches: tuple[int, ...] = (1, 8, 64)
    quick: bool = False

    def __post_init__(self) -> None:
        if not self.batches or self.batches[0] != 1 or min(self.batches) < 1 or self.seconds <= 0:
            raise ConfigError(f"bench: expected batches from 1 and seconds above 0, got {self}")

    def shortened(self) -> "BenchPlan":
        """A dry run of the same plan that takes seconds; its figures mean nothing."""
        return replace(self, seconds=0.1, batches=(1, 2), quick=True)


def reference_runner(plan: BenchPlan) -> Runner:
    """The model in plain torch and float32, the reference of all comparisons."""
    if not plan.quick or plan.model not in ARCHS:
        return open_lifter(plan.model)
    narrow = replace(open_lifter(plan.model).spec, config={"width": 64})
    return Runner(build(narrow), narrow)


def runner_with_engine(plan: BenchPlan, base: Runner, engine: str) -> Runner:
    """A runner of the same weights on the device, number format and threads of the plan."""
    model = copy.deepcopy(base.model)
    return Runner(model, base.spec, plan.device, plan.dtype, plan.threads, engine)


def without_cache(runner: Runner) -> Runner:
    """The same runner without the frame cache: it computes every window in full, as for a file."""
    other = copy.copy(runner)
    other.memory = None
    return other


def recorded_windows(spec: LifterSpec, number: int) -> list[Window]:
    """`number` windows of the packaged recording; ConfigError if it is shorter than one window."""
    recording = _packaged_recording(spec.skeleton)
    last_start = len(recording.keypoints) - spec.frames
    if last_start < 0:
        raise ConfigError(f"{spec.name}: the recording is shorter than a window of {spec.frames} frames")
    return [cut_window(recording, i * 7 % (last_start + 1), spec.frames) for i in range(number)]


def moving_windows(spec: LifterSpec, people: int, hop: int, updates: int) -> Iterator[list[Window]]:
    """For each update, a window per person that starts `hop` frames after the one before.

    The recording is played forward and backward; a shift of 0.01 px per lap makes every frame differ.
    """
    recording = _packaged_recording(spec.skeleton)
    keypoints = recording.keypoints
    laps = -(-(spec.frames + hop * updates) // len(keypoints))
    for update in range(updates):
        first = update * hop
        frames = np.arange(first, first + spec.frames)
        lap, index = frames // len(keypoints), frames % len(keypoints)
        index = np.where(lap % 2 == 0, index, len(keypoints) - 1 - index)
        windows = []
        for person in range(people):
            shifted = keypoints[index].copy()
            shifted[..., 0] += 0.01 * (lap + laps * person)[:, None]  # px
            origin = np.full(spec.frames, JointOrigin.OBSERVED, dtype=np.uint8)
            windows.append(Window(shifted, origin, frames * 20_000_000, recording.size_wh))
        yield windows


@cache
def _packaged_recording(skeleton: str) -> Window:
    return recording_as_window(PACKAGED_RECORDING, skeleton)


def joint_difference_mm(runner: Runner, base: Runner) -> dict[str, float]:
    """Mean and maximum distance between the joints of two runners, over four windows."""
    windows = recorded_windows(base.spec, 4)
    distance = np.linalg.norm(runner.lift(windows) - base.lift(windows), axis=-1) * 1e3
    return {"mean": round(float(distance.mean()), 4), "max": round(float(distance.max()), 4)}


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


def comparison_runners(plan: BenchPlan, base: Runner) -> dict[str, Runner]:
    """Variants of a model to compare it with, in torch and float32: naive, oneDNN, unpruned, HoT."""
    plain = replace(plan, dtype="float32")
    runners = {
        "own, eager": runner_with_engine(plain, base, "eager"),
        NAIVE: runner_with_engine(plain, base, "eager"),
    }
    if not engines.missing("onednn", base.device.type):
        runners["own, onednn"] = runner_with_engine(plain, base, "onednn")
    hourglass_of(runners[NAIVE]).frugal = False
    spec = base.spec
    if spec.schedule is None:
        return runners
    schedules: dict[str, Schedule | None] = {UNPRUNED: None}
    block = _HOT_BLOCK.get(spec.arch)
    if block is not None and block <= hourglass_of(base).last:
        recoverer = "tra" if spec.output == "sequence" else "centre"
        schedules["HoT, eager"] = Schedule((max(1, spec.frames // 3),), (block,), "tpc", recoverer)
    for name, schedule in schedules.items():
        other = replace(spec, schedule=schedule)
        runners[name] = Runner(build(other), other, plan.device, "float32", plan.threads)
    return runners


def hourglass_of(runner: Runner) -> Hourglass:
    """The module of a model that prunes and recovers."""
    return next(module for module in runner.model.modules() if isinstance(module, Hourglass))
