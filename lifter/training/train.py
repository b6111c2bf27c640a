"""`poselift train`: from a config and a folder of data to weights, and the test of them."""

import os
from collections.abc import Sequence as Many
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from lifter import weights
from lifter.evaluation.evaluate import evaluate
from lifter.evaluation.metrics import Table
from lifter.training import dry_run as dry
from lifter.training import recipe
from lifter.training import sources as data
from lifter.training.loop import Trainer
from lifter.training.progress import Report
from lifter.training.recipe import Recipe
from lifter.training.symmetry import Mirror
from lifter.training.widen import paired

QUICK_EVERY = 20  # between two epochs, every so many of the test sequences are enough


def train(
    config: Path | str, folder: Path | str = ".", overrides: Many[str] = (), dry_run: bool = False
) -> Path:
    """Run a recipe on the data in `folder`, or go on where it stopped; answers with its weights.

    config: a YAML file, or `FILE:ROW` for a row of a file of several. dry_run: two small steps and a test
    on made-up data in the same layout, which shows that everything fits together.
    """
    plan = recipe.load(config, overrides)
    if not dry_run:
        return _run(plan, Path(folder))[0]
    with TemporaryDirectory() as place:
        plan = dry.shrink(plan, Path(place))
        path, table = _run(plan, Path(place))
        print(table.text())
        return path


def _run(plan: Recipe, folder: Path) -> tuple[Path, Table]:
    source = data.training(plan, folder, int(os.environ.get("WORLD_SIZE", "1")))
    torch.manual_seed(plan.seed)
    trainer = Trainer(fresh(plan), plan, source, Path(plan.out) / plan.lifter.name)
    report = Report(trainer.folder, plan.log_steps, quiet=trainer.rank > 0)
    if trainer.resume():
        report.say(f"going on at step {trainer.step} from {trainer.folder}")

    def quick() -> dict[str, float]:
        rows = _test(trainer.averaged(), plan, folder, QUICK_EVERY).rows()
        return (rows.get("mean of rows") or next(iter(rows.values()))) if rows else {}

    trainer.fit(report, quick)
    path = trainer.folder / f"{plan.lifter.name}.safetensors"
    table = Table()
    if trainer.rank == 0:
        model = trainer.averaged()
        weights.save(path, model, plan.lifter)
        table = _test(model, plan, folder)
        (trainer.folder / "table.txt").write_text(table.text() + "\n")
    return path, table


def _test(model: nn.Module, plan: Recipe, folder: Path, every: int = 1) -> Table:
    """Errors of a model on a recipe's test data, read as its paper does."""
    return evaluate(model, plan.lifter, data.testing(plan, folder, every), plan.pipeline, flip=plan.test_flip)


def fresh(plan: Recipe) -> nn.Module:
    """A model to start from: fresh, or with the weights of `plan.start_from`."""
    model = weights.build(plan.lifter)
    for name, value in model.named_parameters():
        if name in ("Spatial_pos_embed", "Temporal_pos_embed"):
            nn.init.trunc_normal_(value, std=0.02)
    if plan.start_from:
        given, _ = weights.load(plan.start_from)
        part = model.get_submodule(plan.start_into) if plan.start_into else model
        state = given.state_dict()
        if plan.start_paired:
            state = {**part.state_dict(), **paired(state, part, Mirror(plan.lifter, part))}
        weights.load_strictly(part, state, plan.start_from)
    elif plan.symmetric:
        Mirror(plan.lifter, model).even_weights(model)
    return model
