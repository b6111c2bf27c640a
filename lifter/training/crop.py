"""Trains a lifter on windows shorter than its own: distinct poses are what counts, and short windows have more."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lifter.mixste import MixSTE
from lifter.prune import uniform
from lifter.spec import LifterSpec, Schedule
from lifter.training.recipe import Stage
from stream.errors import ConfigError


class Crop(nn.Module):
    """A MixSTE with uniform pruning, run on `stage.frames` consecutive frames of its window.

    The first uniform prune happens before the network instead of behind spatial block 0: frames
    that are dropped there say nothing to the others, so the poses are the same and the step is cheaper.
    The temporal embedding is the one of the frames' places in the full window.
    """

    def __init__(self, whole: nn.Module, spec: LifterSpec, stage: Stage) -> None:
        super().__init__()
        schedule = spec.schedule
        if (
            not isinstance(whole, MixSTE)
            or schedule is None
            or schedule.pruner != "tps"
            or schedule.at[0] != 0
        ):
            raise ConfigError(
                "stages.frames: short windows need a mixste with a tps schedule that begins at 0"
            )
        keep = stage.keep or schedule.keep
        self.whole = whole
        self.frames = stage.frames or spec.frames
        self.places = torch.from_numpy(uniform(self.frames, keep[0]))  # (K,) of the window's frames
        rest = Schedule(keep=keep[1:], at=schedule.at[1:], recoverer="tri") if keep[1:] else None
        self.spare = spec.frames - self.frames
        # A plan of the computation: its own weights are never used.
        plan = MixSTE(keep[0], spec.joints, spec.in_channels, schedule=rest, **spec.config)
        self._plan = [plan.requires_grad_(False)]  # in a list, so that it is no submodule

    def forward(self, inputs: Tensor, first: int) -> Tensor:
        """Poses (B, K, J, 3) at `places` of inputs (B, frames, J, C) that start at frame `first` of the window."""
        weights = dict(self.whole.named_parameters())
        places = self.places + first
        weights["Temporal_pos_embed"] = weights["Temporal_pos_embed"][:, places]
        return functional_call(self._plan[0], weights, (inputs[:, self.places],))
