"""`poselift bench --paper TABLE`: our speed, memory and training time beside the printed ones, row by row.

Every row has the full-size model of the paper with random weights, computed by plain torch in float32. Frame
noise needs Human3.6M in VideoPose3D's files: the mean distance between the detector's keypoints and the true
ones over the frames that the last stage keeps, in pixels; of random weights where the pruner reads tokens.
Speedups are relative to the unpruned model in a row above, because speeds of different machines cannot be
compared.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from lifter.bench.candidates import BenchPlan, without_cache
from lifter.bench.stages import stages_ms
from lifter.bench.timing import DeviceTimer, median_ms, time_windows
from lifter.bench.windows import recorded_windows
from lifter.data import h36m
from lifter.machine import machine
from lifter.paper.kept_frames import kept_frames
from lifter.paper.printed_speeds import SPEEDS, PrintedSpeed, is_per_window
from lifter.paper.tables import ROWS, PaperRow
from lifter.runner import Runner
from lifter.samples import full_size_spec
from lifter.spec import LifterSpec
from lifter.weights import build
from stream.errors import ConfigError
from stream.messages import Window

TABLES = tuple(sorted({table for table, _ in SPEEDS}))
TRAINING_BATCH = 4  # windows, as in the paper
EPOCH_WINDOWS = 2 * 1_559_752 // 243  # of Human3.6M's training frames, plain and mirrored
_QUICK_WIDTH = 64
_NOISE_WINDOWS = 20


def bench_paper_table(
    table: int,
    plan: BenchPlan,
    data: Path | None = None,
    report_progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """All rows of a table as one JSON object. Raises ConfigError for a table without speeds.

    data: folder with Human3.6M, for the frame noise of Table 2. report_progress: called with the number of
    measured rows and of all rows.
    """
    if table not in TABLES:
        raise ConfigError(f"--paper: expected one of the tables {', '.join(map(str, TABLES))}, got {table}")
    rows = [row for row in ROWS if row.table == table]
    measured: list[dict[str, Any]] = []
    unpruned: dict[str, Any] = {}
    report_progress(0, len(rows))
    for row in rows:
        result = _row(row, SPEEDS[table, row.name], plan, data)
        unpruned = result if row.schedule is None or not measured else unpruned
        speedups = {
            name.replace("fps", "speedup"): result[name] / unpruned[name] for name in ("fps", "our_fps")
        }
        measured.append(result | {name: round(value, 2) for name, value in speedups.items()})
        report_progress(len(measured), len(rows))
    return {
        "benchmark": "paper",
        "table": table,
        "machine": msgspec.to_builtins(machine(plan.device if plan.device != "auto" else _auto())),
        "settings": msgspec.to_builtins(plan),
        "rows": measured,
    }


def _auto() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _row(row: PaperRow, printed: PrintedSpeed, plan: BenchPlan, data: Path | None) -> dict[str, Any]:
    spec = _spec(row, plan)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        runner = Runner(build(spec), spec, plan.device, "float32", plan.threads)
    timer, windows = DeviceTimer(runner.device), recorded_windows(spec, 1)
    one_window = replace(plan, batches=(1,))
    times = time_windows({"": without_cache(runner)}, windows, one_window, timer)[""][1]
    windows_per_s = 1e3 / median_ms(times)
    poses = 1 if is_per_window(row.table, row.name) else spec.frames
    result: dict[str, Any] = {
        "model": row.name,
        "fps": printed.fps,
        "our_fps": round(windows_per_s * poses, 1),
    }
    if printed.ratio is not None:
        stages = stages_ms(runner, windows, one_window, timer)
        ratio = stages["prune, recover"]["p50"] / stages["network"]["p50"]
        result |= {"ratio": printed.ratio, "our_ratio": round(ratio, 3)}
    if printed.frame_noise is not None:
        noise_px = None if data is None else round(frame_noise_px(runner, data), 2)
        result |= {"frame_noise_mm": printed.frame_noise, "our_frame_noise_px": noise_px}
    if printed.epoch_minutes is not None:
        memory_gb, step_s = training_cost(runner, 1 if plan.quick else 3)
        minutes = step_s * EPOCH_WINDOWS / TRAINING_BATCH / 60
        result |= {"memory_gb": printed.memory_gb, "our_memory_gb": memory_gb}
        result |= {"epoch_minutes": printed.epoch_minutes, "our_epoch_minutes": round(minutes, 2)}
    return result


def _spec(row: PaperRow, plan: BenchPlan) -> LifterSpec:
    """The spec of a row's model. Rows with recoverer "none" give the pose of the centre frame."""
    schedule = row.schedule
    to_centre = schedule is not None and schedule.recoverer == "none"
    if schedule is not None and to_centre:
        schedule = replace(schedule, recoverer="centre")
    spec = full_size_spec(row.arch, row.frames, schedule)
    if plan.quick:
        config: dict[str, Any] = {"width": _QUICK_WIDTH}
        if row.arch in ("d3dp", "diffpose"):
            config |= {"hypotheses": 1, "steps": 1}
        spec = replace(spec, config=config)
    return replace(spec, output="centre") if to_centre else spec


def training_cost(runner: Runner, steps: int) -> tuple[float | None, float]:
    """Peak memory in GB (None on a CPU) and seconds of one training step on `TRAINING_BATCH` windows.

    A step has the forward pass, the backward pass and AdamW's update, in float32.
    """
    model, spec = runner.model.train(), runner.spec
    device = runner.device
    inputs = torch.rand(TRAINING_BATCH, spec.frames, spec.joints, spec.in_channels, device=device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)
    timer = DeviceTimer(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def step() -> None:
        poses: Tensor = model(inputs)
        optimiser.zero_grad(set_to_none=True)
        poses.square().mean().backward()
        optimiser.step()

    step()
    start_s = timer.now_ms() / 1e3
    for _ in range(steps):
        step()
    step_s = (timer.now_ms() / 1e3 - start_s) / steps
    model.eval()
    if device.type != "cuda":
        return None, step_s
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 2), step_s


def frame_noise_px(runner: Runner, folder: Path) -> float:
    """Mean distance of detected and true keypoints in the frames kept of Human3.6M's test videos."""
    frames = runner.spec.frames
    errors: list[float] = []
    videos = zip(h36m.read_h36m(folder, "test"), h36m.read_h36m(folder, "test", "gt"), strict=True)
    for detected, true in videos:
        if len(detected.keypoints) < frames or len(errors) == _NOISE_WINDOWS:
            continue
        keypoints = detected.keypoints[:frames]
        origin, times = np.zeros(frames, np.uint8), np.arange(frames)
        kept = kept_frames(runner, [Window(keypoints, origin, times, detected.size_wh)])[0]
        distance = np.linalg.norm(keypoints[kept, :, :2] - true.keypoints[:frames][kept, :, :2], axis=-1)
        errors.append(float(distance.mean()))
    if not errors:
        raise ConfigError(f"{folder}: expected a test video of at least {frames} frames, found none")
    return float(np.mean(errors))
