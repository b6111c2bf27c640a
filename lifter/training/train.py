"""`poselift train`: from a config and a folder of data to weights."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lifter.mixste import MixSTE
from lifter.training import losses, motion, recipe, synthetic
from lifter.training.crop import Crop
from lifter.training.loop import Report, Trainer
from lifter.training.recipe import Recipe, Stage

MARGIN = 24  # frames made around a short window, so that normalising sees what it sees in a long one


def train(config: Path, data: Path, overrides: tuple[str, ...] = ()) -> Path:
    """Run a recipe on the data in folder `data`; returns the folder of the run. Goes on where it stopped."""
    plan = recipe.load(config, overrides)
    torch.manual_seed(plan.seed)
    model = MixSTE(
        plan.lifter.frames,
        plan.lifter.joints,
        plan.lifter.in_channels,
        schedule=plan.lifter.schedule,
        **plan.lifter.config,
    )
    for embedding in (model.Spatial_pos_embed, model.Temporal_pos_embed):
        nn.init.trunc_normal_(embedding, std=0.02)
    trainer = Trainer(model, plan.optimiser, plan.seed, Path(plan.out) / plan.lifter.name)
    trainer.resume()
    steps = Steps(model, plan, data)
    trainer.fit(
        sum(stage.steps for stage in plan.stages), steps.loss, Report(plan.log_steps, plan.checkpoint_minutes)
    )
    return trainer.folder


class Steps:
    """Makes the loss of every step of a recipe on motion capture."""

    def __init__(self, model: nn.Module, plan: Recipe, data: Path) -> None:
        self.plan = plan
        self.motion = motion.read(data / plan.data["file"], plan.data.get("shares"))
        self.loss_of = losses.total(plan.loss)
        self.stages = [(stage, Crop(model, plan.lifter, stage)) for stage in plan.stages]

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        stage, crop = self._at(step)
        spec = self.plan.lifter
        margin = min(MARGIN, crop.spare)
        batch = synthetic.make(self.motion, stage.batch, crop.frames + margin, spec, generator)
        # Live use reads the end of the window: half of the short ones lie there.
        ends, place = torch.rand(2, generator=generator).tolist()
        start = margin if ends < 0.5 else int(place * (margin + 1))
        first = crop.spare if ends < 0.5 else int(place * (crop.spare + 1))
        inside = slice(start, start + crop.frames)
        poses = crop(batch.inputs[:, inside], first)
        return self.loss_of(poses, batch.targets[:, inside][:, crop.places])

    def _at(self, step: int) -> tuple[Stage, Crop]:
        for stage, crop in self.stages:
            if step < stage.steps:
                return stage, crop
            step -= stage.steps
        return self.stages[-1]
