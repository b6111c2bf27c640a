"""Trains a lifter on windows shorter than its own: distinct poses are what counts, not frames."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lifter.mixste import MixSTE
from lifter.prune import uniform
from lifter.spec import LifterSpec, Schedule
from lifter.training.recipe import Stage
from stream.errors import ConfigError


class Crop:
    """A MixSTE with uniform pruning, run on `stage.frames` consecutive frames of its window.

    The first uniform prune happens before the network instead of behind spatial block 0: frames
    that are dropped there say nothing to the others, so the poses are the same and the step is cheaper.
    The temporal embedding is the one of the frames' places in the full window.
    """

    def __init__(self, spec: LifterSpec, stage: Stage) -> None:
        schedule = spec.schedule
        if spec.arch != "mixste" or schedule is None or schedule.pruner != "tps" or schedule.at[0] != 0:
            raise ConfigError(
                "stages.frames: short windows need a mixste with a tps schedule that begins at 0"
            )
        keep = stage.keep or schedule.keep
        self.frames = stage.frames or spec.frames
        self.spare = spec.frames - self.frames
        self.places = torch.from_numpy(uniform(self.frames, keep[0]))  # (K,) of the window's frames
        rest = Schedule(keep=keep[1:], at=schedule.at[1:], recoverer="tri") if keep[1:] else None
        # How to compute; its own weights are never used.
        self._plan = MixSTE(keep[0], spec.joints, spec.in_channels, schedule=rest, **spec.config)

    def to(self, device: torch.device) -> "Crop":
        self.places = self.places.to(device)
        self._plan.to(device)
        return self

    def poses(self, whole: nn.Module, inputs: Tensor, first: int) -> Tensor:
        """Poses (B, K, J, 3) at `places` of inputs (B, frames, J, C) that start at `first` in the window."""
        weights: dict[str, Tensor] = dict(whole.named_parameters())
        embedding = weights["Temporal_pos_embed"]
        weights["Temporal_pos_embed"] = embedding[:, self.places + first]
        return functional_call(self._plan, weights, (inputs[:, self.places],))
