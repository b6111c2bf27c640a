"""What a step minimises, as one module: so that DDP can wrap model and loss together."""

from typing import Any

import torch
from torch import Tensor, nn

from lifter.prune import uniform
from lifter.training import losses
from lifter.training.batch import Batch, seeded
from lifter.training.crop import Crop
from lifter.training.recipe import Recipe


class Objective(nn.Module):
    """The loss of a model on a batch, as a recipe wants it.

    Diffusion lifters are asked for what was added to a pose (`corrupt` and `loss` of the model); a model of
    the centre frame for that one; others for all frames, or for `plan.supervise` evenly spaced ones.
    """

    def __init__(self, model: nn.Module, plan: Recipe) -> None:
        super().__init__()
        self.model, self.plan = model, plan
        self.measure: losses.Loss = losses.total(plan.loss)
        short = any(stage.frames or stage.keep for stage in plan.stages)
        self.crops = [Crop(plan.lifter, stage) for stage in plan.stages] if short else []

    def forward(self, batch: Batch, step: int) -> Tensor:
        model: Any = self.model
        if hasattr(model, "corrupt"):
            generator = seeded(self.plan.seed + 1, step)
            sample, level, wanted = model.corrupt(batch.inputs, batch.targets, generator)
            return model.loss(model(batch.inputs, sample, level), wanted)
        if self.crops:
            crop = self.crops[batch.part]
            poses = crop.poses(self.model, batch.inputs, batch.first)
            return self.measure(poses.float(), batch.targets[:, crop.places])
        poses, targets = self.model(batch.inputs).float(), batch.targets
        if poses.shape[1] == 1:
            centre = targets.shape[1] // 2
            targets = targets[:, centre : centre + 1]
        elif self.plan.supervise:
            places = torch.from_numpy(uniform(targets.shape[1], self.plan.supervise)).to(targets.device)
            poses, targets = poses[:, places], targets[:, places]
        return self.measure(poses, targets)
