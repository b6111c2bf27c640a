"""Lifts keypoints as those of a file are lifted, or frames on their own, in the centre or as the newest."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lifter import normalise, pipelines
from lifter.spec import LifterSpec
from lifter.training.detector import fill
from stream.errors import ConfigError
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
        bounds = pipelines.windows(len(keypoints), self.spec.frames, "centred")
        return pipelines.merge(self._lift(keypoints, size_wh, bounds), bounds, len(keypoints))

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
            window = torch.from_numpy(pipelines.cut(keypoints, each[None]))
            score = window[..., 2]
            window = torch.cat([fill(window[..., :2], score > 0), score[..., None]], dim=-1)
            inputs, context = normalise.encode(window, size, self.spec)
            answers.append(normalise.decode(self.model(inputs).float(), context).numpy())
        return np.concatenate(answers)
