"""Training on windows shorter than the model's: distinct poses train a lifter, not the number of frames."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lifter.architectures.mixste import MixSTE
from lifter.spec import LifterSpec, Schedule
from lifter.training.recipe import Stage
from stream.errors import ConfigError


class ShortWindow:
    """Runs a MixSTE with uniform pruning on `stage.frames` consecutive frames of its window.

    The temporal embedding is that of the frames' places in the full window. Raises ConfigError for other
    models.
    """

    def __init__(self, spec: LifterSpec, stage: Stage) -> None:
        schedule = spec.schedule
        if spec.arch != "mixste" or schedule is None or schedule.pruner != "tps" or schedule.at[0] != 0:
            raise ConfigError(
                "stages.frames: short windows need a mixste with a tps schedule that begins at 0"
            )
        self.frames = stage.frames or spec.frames
        short = Schedule(stage.keep or schedule.keep, schedule.at)
        # Defines the computation; its own weights are never used.
        self._structure = MixSTE(self.frames, spec.joints, spec.in_channels, schedule=short, **spec.config)

    @property
    def frame_indices(self) -> Tensor:
        """Indices (K,) of the frames of the short window that enter the network and get poses."""
        frames: Tensor = self._structure.hourglass.input_frames
        return frames

    def to(self, device: torch.device) -> "ShortWindow":
        self._structure.to(device)
        return self

    def poses(self, model: nn.Module, inputs: Tensor, first_frame: int) -> Tensor:
        """Poses (B, K, J, 3) at `frame_indices` of inputs (B, frames, J, C), by the model's weights.

        first_frame: index of the first input frame in the model's window.
        """
        weights: dict[str, Tensor] = dict(model.named_parameters())
        embedding = weights["Temporal_pos_embed"]
        weights["Temporal_pos_embed"] = embedding[:, first_frame : first_frame + self.frames]
        poses: Tensor = functional_call(self._structure, weights, (inputs,))[:, self.frame_indices]
        return poses
