"""Trains a lifter on windows shorter than its own: distinct poses are what counts, not frames."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lifter.architectures.mixste import MixSTE
from lifter.spec import LifterSpec, Schedule
from lifter.training.recipe import Stage
from stream.errors import ConfigError


class Crop:
    """A MixSTE with uniform pruning, run on `stage.frames` consecutive frames of its window.

    The temporal embedding is the one of the frames' places in the full window.
    """

    def __init__(self, spec: LifterSpec, stage: Stage) -> None:
        schedule = spec.schedule
        if spec.arch != "mixste" or schedule is None or schedule.pruner != "tps" or schedule.at[0] != 0:
            raise ConfigError(
                "stages.frames: short windows need a mixste with a tps schedule that begins at 0"
            )
        self.frames = stage.frames or spec.frames
        self.spare = spec.frames - self.frames
        short = Schedule(stage.keep or schedule.keep, schedule.at)
        # How to compute; its own weights are never used.
        self._plan = MixSTE(self.frames, spec.joints, spec.in_channels, schedule=short, **spec.config)

    @property
    def places(self) -> Tensor:
        """Which frames (K,) of the short window enter the network, and are answered for."""
        return self._plan.hourglass.input_frames

    def to(self, device: torch.device) -> "Crop":
        self._plan.to(device)
        return self

    def poses(self, whole: nn.Module, inputs: Tensor, first: int) -> Tensor:
        """Poses (B, K, J, 3) at `places` of inputs (B, frames, J, C) that start at `first` in the window."""
        weights: dict[str, Tensor] = dict(whole.named_parameters())
        embedding = weights["Temporal_pos_embed"]
        weights["Temporal_pos_embed"] = embedding[:, first : first + self.frames]
        return functional_call(self._plan, weights, (inputs,))[:, self.places]
