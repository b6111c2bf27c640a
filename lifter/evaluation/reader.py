"""Lifts keypoints as those of a file are lifted, or frames on their own, in the centre or as the newest."""

from typing import Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lifter import normalise, weights
from lifter.h2ot import pipelines
from lifter.spec import LifterSpec, Schedule
from lifter.synthesis.detector_noise import fill
from stream.errors import CheckpointError, ConfigError
from stream.messages import F32

Place = Literal["centre", "newest"]


class Reader:
    """A model that answers for every frame of its window.

    Every window is filled in on its own: no frame after it says anything about its gaps, as live.
    """

    def __init__(self, model: nn.Module, spec: LifterSpec) -> None:
        if spec.output != "sequence":
            raise ConfigError(
                f"{spec.name} answers for one frame of a window; expected a lifter of sequences"
            )
        self.model, self.spec = model.eval(), spec

    def every(self, keypoints: F32, size_wh: tuple[int, int]) -> F32:
        """Poses (L, 17, 3) of keypoints (L, 17, 3) in windows side by side."""
        bounds = pipelines.window_bounds(len(keypoints), self.spec.frames, "centred")
        return pipelines.merge_windows(self._lift(keypoints, size_wh, bounds), bounds, len(keypoints))

    def at(self, keypoints: F32, size_wh: tuple[int, int], frames: NDArray[np.int64], place: Place) -> F32:
        """Poses (N, 17, 3) of `frames` (N,), each in the centre of a window or its newest."""
        before = self.spec.frames // 2 if place == "centre" else self.spec.frames - 1
        bounds = np.stack([frames - before, frames - before + self.spec.frames], axis=1)
        return self._lift(keypoints, size_wh, bounds)[:, before]

    @torch.inference_mode()
    def _lift(self, keypoints: F32, size_wh: tuple[int, int], bounds: NDArray[np.int64]) -> F32:
        """Poses (N, F, 17, 3) of windows (N, 2); one at a time, which is quickest on a CPU."""
        size = torch.tensor([size_wh], dtype=torch.float32)
        answers = []
        for each in bounds:
            window = torch.from_numpy(pipelines.cut_windows(keypoints, each[None]))
            score = window[..., 2]
            window = torch.cat([fill(window[..., :2], score > 0), score[..., None]], dim=-1)
            inputs, context = normalise.encode(window, size, self.spec)
            answers.append(normalise.decode(self.model(inputs).float(), context).numpy())
        return np.concatenate(answers)


def unpruned(reader: Reader) -> Reader | None:
    """The same weights without a schedule, where pruning and recovering have no weights of their own."""
    if reader.spec.schedule is None:
        return None
    spec = msgspec.structs.replace(reader.spec, schedule=None)
    model: nn.Module = weights.build(spec)
    try:
        weights.load_strictly(model, reader.model.state_dict(), reader.spec.name)
    except CheckpointError:
        return None
    return Reader(model, spec)


def shorter(reader: Reader) -> Reader | None:
    """The same weights on the newest third of the window, where they were trained on such windows too."""
    spec, frames = reader.spec, reader.spec.frames // 3
    if spec.arch != "mixste" or spec.schedule is None or spec.schedule.pruner != "tps":
        return None
    keep = tuple(round(kept / 3) for kept in spec.schedule.keep)
    schedule = Schedule(keep, spec.schedule.at, "tps", spec.schedule.recoverer)
    spec = msgspec.structs.replace(spec, frames=frames, schedule=schedule)
    state = dict(reader.model.state_dict())
    state["Temporal_pos_embed"] = state["Temporal_pos_embed"][:, -frames:]
    model: nn.Module = weights.build(spec)
    weights.load_strictly(model, state, spec.name)
    return Reader(model, spec)
