"""Find the frames that a lifter keeps of a window after pruning: the data of Figures 7 and 10."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import Tensor, nn

from lifter.h2ot.hourglass import Hourglass
from lifter.layers import take
from lifter.runner import Runner
from lifter.samples import with_schedule
from stream.errors import ConfigError
from stream.messages import Mask, Window


def kept_frames(runner: Runner, windows: Iterable[Window]) -> Mask:
    """Whether the last stage of pruning keeps each frame of each of N windows, (N, F) bool.

    A diffusion lifter runs its backbone many times; the result is that of the first run, first hypothesis.
    """
    frames = np.arange(runner.spec.frames)
    return np.stack([np.isin(frames, _kept_indices(runner, window)) for window in windows])


def _kept_indices(runner: Runner, window: Window) -> NDArray[np.int64]:
    """Frame indices (K,) int64 that the last pruner keeps; the pass stops there."""
    hourglass = next(module for module in runner.model.modules() if isinstance(module, Hourglass))
    if not hourglass.at:
        all_frames: NDArray[np.int64] = hourglass.every_frame.cpu().numpy()
        return all_frames
    if hourglass.samples_input and len(hourglass.pruners) == 1:  # the sampler is never called
        sampled: NDArray[np.int64] = hourglass.input_frames.cpu().numpy()
        return sampled
    kept: list[Tensor] = []

    def stop(pruner: nn.Module, args: tuple[Any, ...], index: Tensor) -> None:
        kept.append(take(args[0].frame_indices, index))  # (K,) or (B, K)
        raise _PassStopped

    hook = hourglass.pruners[-1].register_forward_hook(stop)
    try:
        with suppress(_PassStopped):
            runner.lift([window])
    finally:
        hook.remove()
    indices: NDArray[np.int64] = kept[0].reshape(-1, kept[0].shape[-1])[0].cpu().numpy()
    return indices


class _PassStopped(Exception):
    """Stops a pass after the last pruner, because its poses are not needed."""


def with_pruner(runner: Runner, pruner: str) -> Runner:
    """The same weights with another pruner in every stage; ConfigError for a lifter that does not prune."""
    schedule = runner.spec.schedule
    if schedule is None:
        raise ConfigError(
            f"{runner.spec.name} does not prune; pass the frame counts to keep and the blocks to prune at"
        )
    return with_schedule(runner, replace(schedule, pruner=pruner))
