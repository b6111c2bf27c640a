"""The training objective: model and loss in one module, so that DDP can wrap both."""

from typing import Any

import torch
from torch import Tensor, nn

from lifter import normalise
from lifter.h2ot import pipelines
from lifter.h2ot.prune import uniform
from lifter.layers import take
from lifter.training import losses
from lifter.training.batch import TrainingBatch, step_generator
from lifter.training.recipe import Recipe
from lifter.training.short_windows import ShortWindow


class Objective(nn.Module):
    """The loss of a model on a batch, by a recipe.

    Diffusion models learn to denoise a corrupted pose (their methods `corrupt` and `loss`); the other models
    learn the poses of the frames that `recipe.supervise` names. rank: of this process, so that processes draw
    different noise.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, rank: int = 0) -> None:
        super().__init__()
        self.model: Any = model
        self.recipe, self.rank = recipe, rank
        self.pose_loss: losses.Loss = losses.total(recipe.loss)
        self.live_loss = losses.total(recipe.live_loss) if recipe.live_loss else None
        short = any(stage.frames or stage.keep for stage in recipe.stages)
        short = short and not getattr(model, "any_length", False)
        device = next(model.parameters()).device
        self.short_windows = (
            [ShortWindow(recipe.lifter, stage).to(device) for stage in recipe.stages] if short else []
        )

    def forward(self, batch: TrainingBatch, step: int) -> Tensor:
        """Scalar loss of the batch of a step."""
        if hasattr(self.model, "corrupt"):
            generator = step_generator(self.recipe.seed + 1, step, self.rank)
            sample, level, noise = self.model.corrupt(batch.inputs, batch.targets, generator)
            loss: Tensor = self.model.loss(self.model(batch.inputs, sample, level), noise)
            return loss
        poses, targets = self._poses(batch)
        loss = self.pose_loss(poses.float(), targets)
        if self.live_loss is not None and batch.successive > 1:
            loss = loss + self.live_loss(_newest(poses.float(), batch), _newest(targets, batch))
        return loss

    def _poses(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Poses (B, K, J, 3) and targets (B, K, J, 3) of the supervised frames."""
        model, targets, supervise = self.model, batch.targets, self.recipe.supervise
        frames = targets.shape[1]
        if self.short_windows:
            window = self.short_windows[batch.stage]
            return window.poses(model, batch.inputs, batch.first_frame), targets[:, window.frame_indices]
        if supervise == "kept":
            tokens, kept = model.encode(batch.inputs)
            head = model.regress if hasattr(model, "regress") else model.head
            return head(tokens), take(targets, kept)
        if supervise == "all":
            return model(batch.inputs), targets
        if supervise == "centre":
            return pipelines.seq2frame(model, batch.inputs), targets[:, frames // 2 : frames // 2 + 1]
        indices = torch.from_numpy(uniform(frames, int(supervise))).to(targets.device)
        return model(batch.inputs)[:, indices], targets[:, indices]


def _newest(poses: Tensor, batch: TrainingBatch) -> Tensor:
    """The newest poses of successive windows as motions (motions, successive, J, 3) m, in camera axes.

    poses: (B, K, J, 3) in the network's axes.
    """
    context = normalise.NormalisationContext(batch.newest_reflection)
    newest = normalise.decode(poses[:, -1:], context)[:, 0]
    motions: Tensor = newest.unflatten(0, (batch.successive, -1)).transpose(0, 1)
    return motions
