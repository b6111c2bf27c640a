"""What a benchmark measures: its plan, the lifter, and the variants to compare the lifter with."""

import copy

import msgspec
import numpy as np
from msgspec.structs import replace

from lifter.bench.windows import recorded_windows
from lifter.engines import choose as engines
from lifter.h2ot.hourglass import Hourglass
from lifter.runner import Runner
from lifter.samples import open_lifter
from lifter.spec import Schedule
from lifter.weights import ARCHS, build
from stream.errors import ConfigError

NAIVE = "own, eager, as the paper writes it"
UNPRUNED = "unpruned, eager"
# The block of HoT's single clustering stage (published before H2OT), by architecture.
_HOT_BLOCK = {"mixste": 3, "mhformer": 1, "motionbert": 1, "motionagformer": 7, "d3dp": 3, "diffpose": 3}


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure.

    model: weights by name or file, or an architecture (full size, random weights). device, dtype, threads,
    engine: as `Runner` takes them. seconds: approximate time for each figure. batches: numbers of windows,
    rising from 1. schedule: replaces the model's own. quick: a narrow model of an architecture and small
    matrix products, for a dry run.
    """

    model: str = "small"
    device: str = "auto"
    dtype: str = "float32"
    threads: int | None = None
    engine: str = "auto"
    seconds: float = 3.0
    batches: tuple[int, ...] = (1, 8, 64)
    schedule: Schedule | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        if not self.batches or self.batches[0] != 1 or min(self.batches) < 1 or self.seconds <= 0:
            raise ConfigError(
                f"bench: expected batches from 1 and seconds above 0, got {self.batches} and {self.seconds:g}"
            )

    def shortened(self) -> "BenchPlan":
        """A dry run of the same plan that takes seconds; its figures mean nothing."""
        return replace(self, seconds=0.1, batches=(1, 2), quick=True)


def reference_runner(plan: BenchPlan) -> Runner:
    """The model in plain torch and float32, the reference of all comparisons."""
    if not plan.quick or plan.model not in ARCHS:
        return open_lifter(plan.model, plan.schedule)
    narrow = replace(open_lifter(plan.model, plan.schedule).spec, config={"width": 64})
    return Runner(build(narrow), narrow)


def runner_with_engine(plan: BenchPlan, base: Runner, engine: str) -> Runner:
    """A runner of the same weights on the device, number format and threads of the plan."""
    model = copy.deepcopy(base.model)
    return Runner(model, base.spec, plan.device, plan.dtype, plan.threads, engine)


def without_cache(runner: Runner) -> Runner:
    """The same runner without the frame cache: it computes every window in full, as for a file."""
    other = copy.copy(runner)
    other.frame_cache = None
    return other


def joint_difference_mm(runner: Runner, base: Runner) -> dict[str, float]:
    """Mean and maximum distance between the joints of two runners, over four windows."""
    windows = recorded_windows(base.spec, 4)
    distance = np.linalg.norm(runner.lift(windows) - base.lift(windows), axis=-1) * 1e3
    return {"mean": round(float(distance.mean()), 4), "max": round(float(distance.max()), 4)}


def comparison_runners(plan: BenchPlan, base: Runner) -> dict[str, Runner]:
    """Variants of a model to compare it with, in torch and float32: naive, oneDNN, unpruned, HoT."""
    plain = replace(plan, dtype="float32")
    runners = {
        "own, eager": runner_with_engine(plain, base, "eager"),
        NAIVE: runner_with_engine(plain, base, "eager"),
    }
    if not engines.why_unavailable("onednn", base.device.type):
        runners["own, onednn"] = runner_with_engine(plain, base, "onednn")
    hourglass_of(runners[NAIVE]).skip_unneeded = False
    spec = base.spec
    if spec.schedule is None:
        return runners
    schedules: dict[str, Schedule | None] = {UNPRUNED: None}
    block = _HOT_BLOCK.get(spec.arch)
    if block is not None and block <= hourglass_of(base).last_block:
        recoverer = "tra" if spec.output == "sequence" else "centre"
        schedules["HoT, eager"] = Schedule((max(1, spec.frames // 3),), (block,), "tpc", recoverer)
    for name, schedule in schedules.items():
        other = replace(spec, schedule=schedule)
        runners[name] = Runner(build(other), other, plan.device, "float32", plan.threads)
    return runners


def hourglass_of(runner: Runner) -> Hourglass:
    """The module of a model that prunes and recovers."""
    return next(module for module in runner.model.modules() if isinstance(module, Hourglass))
