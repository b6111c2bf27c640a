"""`poselift train`: from a recipe and a folder of data to weights and their test."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from lifter import weights
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.evaluate import Combination, evaluate
from lifter.evaluation.metrics import MEAN_OF_ROWS, MetricTable
from lifter.evaluation.protocol import protocol_named
from lifter.training import dry_run as dry
from lifter.training import sources
from lifter.training.interim_tests import thinned
from lifter.training.loop import Trainer
from lifter.training.mocap_batches import MocapBatches
from lifter.training.progress import TrainingLog
from lifter.training.recipe import Recipe, load
from lifter.training.symmetry import LeftRightSymmetry
from lifter.training.widen import widen


def train(
    config: Path | str, folder: Path | str = ".", overrides: Sequence[str] = (), dry_run: bool = False
) -> Path:
    """Run a recipe on the data in `folder`, or resume it; returns the path of its weights.

    config: a YAML file, or `FILE:ROW` for a row of a file of several. dry_run: two small steps and a test on
    synthetic data in the same layout, which shows that the recipe works.
    """
    recipe = load(config, overrides)
    if not dry_run:
        return _run(recipe, Path(folder))[0]
    with TemporaryDirectory() as temporary:
        recipe = dry.shrink(recipe, Path(temporary))
        path, table = _run(recipe, Path(temporary))
        print(table.text())
        return path


def _run(recipe: Recipe, folder: Path) -> tuple[Path, MetricTable]:
    trainer = new_trainer(recipe, folder, Path(recipe.out) / recipe.lifter.name)
    log = TrainingLog(trainer.folder, recipe.log_steps, quiet=trainer.rank > 0)
    if trainer.resume():
        log.print_line(f"resuming at step {trainer.step} from {trainer.folder}")

    path = trainer.folder / f"{recipe.lifter.name}.safetensors"
    interim = _interim_sequences(recipe, folder, trainer.source) if trainer.rank == 0 else []

    def interim_test() -> dict[str, float]:
        rows = _test(trainer.trained_model(), recipe, interim).rows()
        return (rows.get(MEAN_OF_ROWS) or next(iter(rows.values()))) if rows else {}

    def keep_best() -> None:
        weights.save(path.with_stem(f"{path.stem}-best"), trainer.trained_model(), recipe.lifter)

    trainer.fit(log, interim_test, keep_best)
    table = MetricTable()
    if trainer.rank == 0:
        model = trainer.trained_model()
        weights.save(path, model, recipe.lifter)
        table = _test(model, recipe, sources.held_out_sequences(recipe, folder))
        (trainer.folder / "table.txt").write_text(table.text() + "\n")
    return path, table


def new_trainer(recipe: Recipe, data: Path, folder: Path) -> Trainer:
    """A trainer of the initial model; it makes windows of motion capture on its own device."""
    source = sources.training_batches(recipe, data, int(os.environ.get("WORLD_SIZE", "1")))
    torch.manual_seed(recipe.seed)
    trainer = Trainer(initial_model(recipe), recipe, source, folder)
    if isinstance(source, MocapBatches) and not recipe.workers:
        source.to(trainer.device)
    return trainer


def _interim_sequences(recipe: Recipe, folder: Path, source: sources.BatchSource) -> list[LabelledSequence]:
    """The test sequences, or the parts of them, that are lifted between epochs."""
    if not recipe.epochs:  # a run in stages is tested once, at its end
        return []
    steps = source.steps_per_epoch * recipe.evaluate_epochs
    return thinned(sources.held_out_sequences(recipe, folder), recipe, steps)


def _test(model: nn.Module, recipe: Recipe, sequences: Iterable[LabelledSequence]) -> MetricTable:
    """Errors of a model on test sequences, in the recipe's mode."""
    dataset = sources.dataset_of(recipe)
    protocol = protocol_named("ours" if dataset == "other" else "paper", recipe.lifter, dataset)
    combination: Combination = "flip" if recipe.test_flip else "mean"
    return evaluate(model, recipe.lifter, sequences, recipe.pipeline, combination, protocol)


def initial_model(recipe: Recipe) -> nn.Module:
    """The model before the first step: randomly initialised, or with the weights of `recipe.start_from`."""
    model = weights.build(recipe.lifter)
    for name, value in model.named_parameters():
        if name in ("Spatial_pos_embed", "Temporal_pos_embed"):
            nn.init.trunc_normal_(value, std=0.02)
    if recipe.start_from:
        pretrained, _ = weights.load(recipe.start_from)
        part = model.get_submodule(recipe.start_into) if recipe.start_into else model
        state = pretrained.state_dict()
        if recipe.start_paired:
            state = {**part.state_dict(), **widen(state, part, LeftRightSymmetry(recipe.lifter, part))}
        weights.load_strictly(part, state, recipe.start_from)
    elif recipe.symmetric:
        LeftRightSymmetry(recipe.lifter, model).symmetrise(model)
    return model
