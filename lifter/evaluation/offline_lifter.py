"""Lifts recorded keypoints: all frames of a clip, or single frames at a chosen place in their window."""

from typing import Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lifter import normalise, weights
from lifter.h2ot import pipelines
from lifter.spec import LifterSpec, Schedule
from lifter.synthesis.fill_gaps import fill_missing_joints
from stream.errors import CheckpointError, ConfigError
from stream.messages import F32

FramePlace = Literal["centre", "newest"]


class OfflineLifter:
    """A model that gives poses of all frames of its window.

    Gaps are filled in each window on its own, so that no frame after the window influences them, as live.
    Raises ConfigError for a model that gives one pose per window.
    """

    def __init__(self, model: nn.Module, spec: LifterSpec) -> None:
        if spec.output != "sequence":
            raise ConfigError(
                f"{spec.name} gives the pose of one frame of a window; expected a lifter of sequences"
            )
        self.model, self.spec = model.eval(), spec

    def lift(self, keypoints: F32, size_wh: tuple[int, int]) -> F32:
        """Poses (L, 17, 3) in metres of keypoints (L, 17, 3), in windows side by side."""
        bounds = pipelines.window_bounds(len(keypoints), self.spec.frames, "centred")
        return pipelines.merge_windows(self._lift_windows(keypoints, size_wh, bounds), bounds, len(keypoints))

    def lift_frames(
        self, keypoints: F32, size_wh: tuple[int, int], frames: NDArray[np.int64], place: FramePlace
    ) -> F32:
        """Poses (N, 17, 3) in metres of `frames` (N,), each in the centre of its window or the newest."""
        before = self.spec.frames // 2 if place == "centre" else self.spec.frames - 1
        bounds = np.stack([frames - before, frames - before + self.spec.frames], axis=1)
        return self._lift_windows(keypoints, size_wh, bounds)[:, before]

    @torch.inference_mode()
    def _lift_windows(self, keypoints: F32, size_wh: tuple[int, int], bounds: NDArray[np.int64]) -> F32:
        """Poses (N, F, 17, 3) of windows `bounds` (N, 2), one window at a time: fastest on a CPU."""
        size = torch.tensor([size_wh], dtype=torch.float32)
        poses = []
        for row in bounds:
            window = torch.from_numpy(pipelines.cut_windows(keypoints, row[None]))
            score = window[..., 2]
            window = torch.cat([fill_missing_joints(window[..., :2], score > 0), score[..., None]], dim=-1)
            inputs, context = normalise.encode(window, size, self.spec)
            poses.append(normalise.decode(self.model(inputs).float(), context).numpy())
        return np.concatenate(poses)


def without_pruning(lifter: OfflineLifter) -> OfflineLifter | None:
    """The same weights without a schedule; None where pruning or recovery has weights of its own."""
    if lifter.spec.schedule is None:
        return None
    spec = msgspec.structs.replace(lifter.spec, schedule=None)
    model: nn.Module = weights.build(spec)
    try:
        weights.load_strictly(model, lifter.model.state_dict(), lifter.spec.name)
    except CheckpointError:
        return None
    return OfflineLifter(model, spec)


def with_short_window(lifter: OfflineLifter) -> OfflineLifter | None:
    """The same weights on the newest third of the window; None for weights not trained on short windows."""
    spec, frames = lifter.spec, lifter.spec.frames // 3
    if spec.arch != "mixste" or spec.schedule is None or spec.schedule.pruner != "tps":
        return None
    keep = tuple(round(kept / 3) for kept in spec.schedule.keep)
    schedule = Schedule(keep, spec.schedule.at, "tps", spec.schedule.recoverer)
    spec = msgspec.structs.replace(spec, frames=frames, schedule=schedule)
    state = dict(lifter.model.state_dict())
    state["Temporal_pos_embed"] = state["Temporal_pos_embed"][:, -frames:]
    model: nn.Module = weights.build(spec)
    weights.load_strictly(model, state, spec.name)
    return OfflineLifter(model, spec)
