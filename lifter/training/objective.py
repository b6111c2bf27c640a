"""What a step minimises, as one module: so that DDP can wrap model and loss together."""

from typing import Any

import torch
from torch import Tensor, nn

from lifter.h2ot import pipelines
from lifter.h2ot.prune import uniform
from lifter.layers import take
from lifter.training import losses
from lifter.training.batch import Batch, seeded
from lifter.training.recipe import Recipe
from lifter.training.short_windows import Crop


class Objective(nn.Module):
    """The loss of a model on a batch, as a recipe wants it.

    Diffusion lifters are asked for what was added to a pose (`corrupt` and `loss` of the model), the
    others for poses, of the frames that `plan.supervise` says.
    """

    def __init__(self, model: nn.Module, plan: Recipe) -> None:
        super().__init__()
        self.model: Any = model
        self.plan = plan
        self.measure: losses.Loss = losses.total(plan.loss)
        short = any(stage.frames or stage.keep for stage in plan.stages)
        short = short and not getattr(model, "any_length", False)
        device = next(model.parameters()).device
        self.crops = [Crop(plan.lifter, stage).to(device) for stage in plan.stages] if short else []

    def forward(self, batch: Batch, step: int) -> Tensor:
        """Scalar loss of batch number `step`."""
        if hasattr(self.model, "corrupt"):
            generator = seeded(self.plan.seed + 1, step)
            sample, level, wanted = self.model.corrupt(batch.inputs, batch.targets, generator)
            return self.model.loss(self.model(batch.inputs, sample, level), wanted)
        poses, targets = self._poses(batch)
        return self.measure(poses.float(), targets)

    def _poses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Poses (B, K, J, 3) and targets (B, K, J, 3) of the frames that count."""
        model, targets, wanted = self.model, batch.targets, self.plan.supervise
        frames = targets.shape[1]
        if self.crops:
            crop = self.crops[batch.part]
            return crop.poses(model, batch.inputs, batch.first), targets[:, crop.places]
        if wanted == "kept":
            tokens, kept = model.encode(batch.inputs)
            head = model.regress if hasattr(model, "regress") else model.head
            return head(tokens), take(targets, kept)
        if wanted == "all":
            return model(batch.inputs), targets
        if wanted == "centre":
            return pipelines.seq2frame(model, batch.inputs), targets[:, frames // 2 : frames // 2 + 1]
        places = torch.from_numpy(uniform(frames, int(wanted))).to(targets.device)
        return model(batch.inputs)[:, places], targets[:, places]
