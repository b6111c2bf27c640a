"""Time the stages of a lift: normalising, the network, decoding, and pruning and recovering within it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lifter import normalise
from lifter.bench.candidates import BenchPlan, hourglass_of, without_cache
from lifter.bench.timing import DeviceTimer
from lifter.h2ot import pipelines
from lifter.h2ot.recover import Head
from lifter.runner import Runner
from stream.messages import Window


@torch.inference_mode()
def stages_ms(
    runner: Runner, windows: list[Window], plan: BenchPlan, timer: DeviceTimer
) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 in ms of each stage of lifting these windows, and of the full lift."""
    spec = runner.spec
    keypoints = torch.from_numpy(np.stack([window.keypoints for window in windows])).to(timer.device)
    size_wh = torch.tensor([window.size_wh for window in windows], dtype=torch.float32, device=timer.device)
    x, context = normalise.encode(keypoints, size_wh, spec)
    network = pipelines.seq2frame if spec.output == "centre" else pipelines.seq2seq
    poses = network(runner.network, x).float().expand(-1, spec.frames, -1, -1)
    uncached = without_cache(runner)
    stages: dict[str, Callable[[], object]] = {
        "normalise": lambda: normalise.encode(keypoints, size_wh, spec),
        "network": lambda: network(runner.network, x),
        "decode": lambda: normalise.decode(poses, context),
        "whole": lambda: uncached.lift(windows),
    }
    if runner.replays_graphs:  # one piece: its parts, computed alone, would be slower than the whole
        stages = {"whole": stages["whole"]}
    times_ms: dict[str, dict[str, float]] = {}
    for name, stage in stages.items():
        number = int(np.clip(1e3 * plan.seconds / timer.measure(stage).wall_ms, 3, 300))
        times_ms[name] = _percentiles([timer.measure(stage).wall_ms for _ in range(number)])
    if runner.network is runner.model and "network" in stages:
        repeats = range(int(times_ms["network"]["measured"]))
        own_ms = [hourglass_ms(runner, stages["network"], timer) for _ in repeats]
        times_ms["prune, recover"] = _percentiles(own_ms)
    return times_ms


def _percentiles(times_ms: list[float]) -> dict[str, float]:
    percentiles = {f"p{p}": round(float(np.percentile(times_ms, p)), 3) for p in (50, 95, 99)}
    return percentiles | {"measured": len(times_ms)}


def hourglass_ms(runner: Runner, network: Callable[[], object], timer: DeviceTimer) -> float:
    """Time of pruning and recovering in one call of `network`, without the regression head.

    The paper counts it as 0 % of the FLOPs.
    """
    hourglass, own_ms = hourglass_of(runner), 0.0
    prune, recover = hourglass.prune, hourglass.recover

    def timed(call: Callable[..., Any], sign: int = 1) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal own_ms
            start_ms = timer.now_ms()
            result = call(*arguments)
            own_ms += sign * (timer.now_ms() - start_ms)
            return result

        return counted

    def without_head(tokens: Tensor, frame_indices: Tensor, head: Head, rows: slice | None = None) -> Tensor:
        poses: Tensor = timed(recover)(tokens, frame_indices, timed(head, -1), rows)
        return poses

    hourglass.prune, hourglass.recover = timed(prune), without_head  # type: ignore[method-assign]
    try:
        network()
    finally:
        del hourglass.prune, hourglass.recover
    return own_ms
