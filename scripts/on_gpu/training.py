"""Training of `medium` for the remaining minutes, with its speed and its errors before and after."""

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.profiler import ProfilerActivity, profile

from lifter import weights
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.evaluate import evaluate
from lifter.evaluation.metrics import MEAN_OF_ROWS
from lifter.training import dry_run, recipe, sources
from lifter.training.loop import Trainer
from lifter.training.progress import LOSS_LOG, PLOT, TrainingLog
from lifter.training.recipe import Recipe
from lifter.training.train import initial_model, new_trainer
from scripts.on_gpu.run import RESERVE_S, Run, device

RECIPE = Path("configs/train/medium-gpu.yaml")
TEST_SHARE = 0.05  # of the minutes, for each test of the weights
CALIBRATION_STEPS, REHEARSED_STEPS = 20, 4  # per stage
MAX_HALVINGS = 5  # of the batches, when the memory of the device is too small


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
