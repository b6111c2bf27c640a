"""A lifter and what it is compared with, timed in turns over windows of the packaged recording."""

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

import msgspec
import numpy as np
from msgspec.structs import replace as changed

from lifter.bench.ceilings import Clock, Took
from lifter.engines import choose as engines
from lifter.h2ot.hourglass import Hourglass
from lifter.paper.kept_frames import cut, opened, sequence
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from lifter.weights import ARCHS, build
from stream.errors import ConfigError
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import JointOrigin, Window

AS_WRITTEN = "own, eager, as the paper writes it"
UNPRUNED = "unpruned, eager"
# What was published before H2OT (HoT): one clustering stage, after which attention brings the frames back
# or the centre stays.
_HOT_STAGE = {"mixste": 3, "mhformer": 1, "motionbert": 1, "motionagformer": 7, "d3dp": 3, "diffpose": 3}
_PATIENCE = 10  # a batch that takes so many times `seconds` is left out
_MOST = 300  # measurements of one figure

Times = dict[str, dict[int, list[Took]]]  # of every lift, by variant and batch


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """model: weights by name or file, or an architecture (full size, random weights); the rest but the
    last three is what `Runner` takes. seconds: about how long each figure is measured; quick: a narrow
    model of an architecture and small products, to see that all of it runs.
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

    def shortened(self) -> "Plan":
        """The same in seconds, whose figures mean nothing."""
        return changed(self, seconds=0.1, batches=(1, 2), quick=True)


def reference(plan: Plan) -> Runner:
    """The model in plain torch and float32, which all else is compared with."""
    if not plan.quick or plan.model not in ARCHS:
        return opened(plan.model)
    narrow = changed(opened(plan.model).spec, config={"width": 64})
    return Runner(build(narrow), narrow)


def runner_of(plan: Plan, base: Runner, engine: str) -> Runner:
    """The same weights, computed as planned, by one of the engines."""
    model = copy.deepcopy(base.model)
    return Runner(model, base.spec, plan.device, plan.dtype, plan.threads, engine)


def forgetful(runner: Runner) -> Runner:
    """The same runner, which computes every window from scratch, as for a file."""
    other = copy.copy(runner)
    other.frame_cache = None
    return other


def recorded(spec: LifterSpec, number: int) -> list[Window]:
    """So many windows of the packaged recording."""
    seen = _walk(spec.skeleton)
    spare = len(seen.keypoints) - spec.frames
    if spare < 0:
        raise ConfigError(f"{spec.name}: the recording is shorter than a window of {spec.frames} frames")
    return [cut(seen, i * 7 % (spare + 1), spec.frames) for i in range(number)]


def moving(spec: LifterSpec, people: int, hop: int, updates: int) -> Iterator[list[Window]]:
    """Windows of people walking on and on, `hop` frames later each time; no two frames are alike."""
    seen = _walk(spec.skeleton)
    there = seen.keypoints
    laps = -(-(spec.frames + hop * updates) // len(there))
    for update in range(updates):
        first = update * hop
        frames = np.arange(first, first + spec.frames)
        lap, place = frames // len(there), frames % len(there)
        place = np.where(lap % 2 == 0, place, len(there) - 1 - place)  # to and fro
        windows = []
        for person in range(people):
            keypoints = there[place].copy()
            keypoints[..., 0] += 0.01 * (lap + laps * person)[:, None]  # px
            origin = np.full(spec.frames, JointOrigin.OBSERVED, dtype=np.uint8)
            windows.append(Window(keypoints, origin, frames * 20_000_000, seen.size_wh))
        yield windows


@cache
def _walk(skeleton: str) -> Window:
    return sequence(PACKAGED_RECORDING, skeleton)


def changed_mm(runner: Runner, base: Runner) -> dict[str, float]:
    """How far joints lie from where the reference puts them, over some windows."""
    windows = recorded(base.spec, 4)
    distance = np.linalg.norm(runner.lift(windows) - base.lift(windows), axis=-1) * 1e3
    return {"mean": round(float(distance.mean()), 4), "max": round(float(distance.max()), 4)}


def in_turns(runners: dict[str, Runner], windows: list[Window], plan: Plan, clock: Clock) -> Times:
    """Times of whole lifts; runners take turns, so that whatever else a machine does slows all alike."""
    times: Times = {name: {} for name in runners}
    for batch in plan.batches:
        fits = {name: runner for name, runner in runners.items() if _fits(times[name], batch, plan)}
        lifts = {name: partial(runner.lift, windows[:batch]) for name, runner in fits.items()}
        for name, found in _turns(lifts, plan, clock).items():
            times[name][batch] = found
    return times


def live(runners: dict[str, Runner], hop: int, plan: Plan, clock: Clock) -> Times:
    """Times of the updates of people who move on by `hop` frames; the newest `hop` poses are asked for."""
    times: Times = {name: {} for name in runners}
    for people in plan.batches:
        lifts = {}
        for name, runner in runners.items():
            if _fits(times[name], people, plan):
                windows = moving(runner.spec, people, hop, _MOST + 3)
                lifts[name] = partial(_update, runner, windows, hop)
        for name, found in _turns(lifts, plan, clock).items():
            times[name][people] = found
    return times


def _update(runner: Runner, windows: Iterator[list[Window]], hop: int) -> None:
    # Making the windows is timed too: some copies of a few kilobytes.
    runner.lift(next(windows), min(hop, runner.spec.frames) if runner.spec.output == "sequence" else None)


def _turns(lifts: Mapping[str, Callable[[], object]], plan: Plan, clock: Clock) -> dict[str, list[Took]]:
    repeats: dict[str, int] = {}
    found: dict[str, list[Took]] = {}
    for name, lift in lifts.items():
        lift()
        repeats[name] = int(np.clip(1e3 * plan.seconds / clock.took(lift).wall_ms, 2, _MOST))
        found[name] = []
    for turn in range(max(repeats.values(), default=0)):
        for name in (name for name, number in repeats.items() if turn < number):
            found[name].append(clock.took(lifts[name]))
    return found


def _fits(known: dict[int, list[Took]], batch: int, plan: Plan) -> bool:
    """Whether a batch is not too slow to wait for, by the largest one measured."""
    if not known:
        return True
    return median_ms(known[max(known)]) / max(known) * batch <= 1e3 * _PATIENCE * plan.seconds


def median_ms(times: list[Took]) -> float:
    return float(np.median([took.wall_ms for took in times]))


def median_busy_ms(times: list[Took], runner: Runner) -> float:
    """What a lift takes where nobody else works."""
    return float(np.median([took.busy_ms(runner.device) for took in times]))


def others(plan: Plan, base: Runner) -> dict[str, Runner]:
    """What a model is compared with, all in torch and float32."""
    plain = changed(plan, dtype="float32")
    found = {"own, eager": runner_of(plain, base, "eager"), AS_WRITTEN: runner_of(plain, base, "eager")}
    if not engines.why_unavailable("onednn", base.device.type):
        found["own, onednn"] = runner_of(plain, base, "onednn")
    hourglass_of(found[AS_WRITTEN]).skip_unneeded = False
    spec = base.spec
    if spec.schedule is None:
        return found
    schedules: dict[str, Schedule | None] = {UNPRUNED: None}
    at = _HOT_STAGE.get(spec.arch)
    if at is not None and at <= hourglass_of(base).last_block:
        recoverer = "tra" if spec.output == "sequence" else "centre"
        schedules["HoT, eager"] = Schedule((max(1, spec.frames // 3),), (at,), "tpc", recoverer)
    for name, schedule in schedules.items():
        other = changed(spec, schedule=schedule)
        found[name] = Runner(build(other), other, plan.device, "float32", plan.threads)
    return found


def hourglass_of(runner: Runner) -> Hourglass:
    return next(part for part in runner.model.modules() if isinstance(part, Hourglass))
