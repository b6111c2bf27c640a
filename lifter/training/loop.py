"""The training loop: steps, checkpoints, and resuming with the same bits after an interruption."""

import copy
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from lifter.training.batch import TrainingBatch
from lifter.training.objective import Objective
from lifter.training.optimiser import AveragedWeights, learning_rate, make_optimiser, precision
from lifter.training.progress import TrainingLog
from lifter.training.recipe import Recipe
from lifter.training.sources import BatchSource
from lifter.training.symmetry import LeftRightSymmetry
from stream.errors import ConfigError
from stream.files.cache import write_atomically

CHECKPOINT = "checkpoint.pt"


class Trainer:
    """Trains a model by a recipe; `folder` holds its checkpoint and its log.

    Under torchrun every process makes its own batches, DDP averages their gradients, and the process of rank
    0 writes the files.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, source: BatchSource, folder: Path) -> None:
        self.rank, self.device = _rank_and_device()
        self.model, self.recipe, self.source, self.folder = model.to(self.device), recipe, source, folder
        self.objective = Objective(self.model, recipe)
        self.parallel: nn.Module = self.objective
        if torch.distributed.is_initialized():
            self.parallel = DistributedDataParallel(self.objective)
        self.optimiser = make_optimiser(self.model, recipe.optimiser)
        self.symmetry = LeftRightSymmetry(recipe.lifter, self.model) if recipe.symmetric else None
        self.average = AveragedWeights(self.model, recipe.optimiser.ema) if recipe.optimiser.ema else None
        self.step, self.step_is_complete = 0, True
        folder.mkdir(parents=True, exist_ok=True)

    def fit(self, log: TrainingLog, evaluate: Callable[[], dict[str, float]]) -> None:
        """Train to the last step; `evaluate` returns test metrics after every `recipe.evaluate_epochs`."""
        steps = self.source.steps
        log.begin(self.step, steps)
        try:
            self._train_steps(log, evaluate, steps)
        finally:
            # After an interruption, too, unless within a step: the same command resumes from here.
            if self.rank == 0 and self.step_is_complete:
                self.save()
            log.end()

    def _train_steps(self, log: TrainingLog, evaluate: Callable[[], dict[str, float]], steps: int) -> None:
        saved_s = time.monotonic()
        for batch in self._batches(steps):
            self.step_is_complete = False
            loss, rate = self._train_step(batch, steps)
            self.step += 1
            self.step_is_complete = True
            log.add_step(self.step, loss, rate)
            epochs_end = self.step % (self.source.steps_per_epoch * self.recipe.evaluate_epochs) == 0
            if self.rank == 0 and epochs_end:
                log.add_test(self.step, evaluate())
            overdue = time.monotonic() - saved_s > 60 * self.recipe.checkpoint_minutes
            if self.rank == 0 and (epochs_end or overdue):
                self.save()
                saved_s = time.monotonic()

    def _train_step(self, batch: TrainingBatch, steps: int) -> tuple[Tensor, float]:
        """Loss and learning rate of one step of the optimiser."""
        settings = self.recipe.optimiser
        rate = learning_rate(settings, self.step, steps, self.source.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # Seeds stochastic depth and dropout: a resumed run draws the same numbers.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        self.model.train()
        with precision(self.device, self.recipe.amp):
            loss = self.parallel(batch.to(self.device), self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.symmetry:
            self.symmetry.symmetrise_gradients(self.model)
        if settings.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimiser.step()
        if self.average:
            self.average.update(self.model, self.step)
        return loss.detach(), rate

    def _batches(self, steps: int) -> "DataLoader[TrainingBatch]":
        """The remaining batches, made ahead by the recipe's worker processes."""
        return DataLoader(
            _StepDataset(self.source, self.rank),
            batch_size=None,
            sampler=range(self.step, steps),
            num_workers=self.recipe.workers,
            pin_memory=False,
        )

    def trained_model(self) -> nn.Module:
        """A copy of the model to test and to save, with the averaged weights where the recipe has them."""
        model = copy.deepcopy(self.model)
        if self.average:
            model.load_state_dict(self.average.state)
        return model.eval()

    def save(self) -> None:
        """Write the checkpoint in one move: an interruption leaves the old checkpoint or the new one."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.average.state if self.average else {},
        }
        with write_atomically(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)

    def resume(self) -> bool:
        """Load the folder's checkpoint; False without one. Raises ConfigError for another model's."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True, map_location=self.device)
        try:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"{path}: expected a checkpoint of this config, but it is one of another model; "
                f"remove it or choose another folder with --set out=FOLDER ({str(error)[:200]})"
            ) from error
        self.step = state["step"]
        if self.average:
            self.average.state = state["ema"]
        return True


class _StepDataset(Dataset[TrainingBatch]):
    """Batches by step number, as DataLoader needs them."""

    def __init__(self, source: BatchSource, rank: int) -> None:
        self.source, self.rank = source, rank

    def __getitem__(self, step: int) -> TrainingBatch:
        return self.source.make(step, self.rank)


def _rank_and_device() -> tuple[int, torch.device]:
    """Rank and device of this process; joins the process group under torchrun."""
    gpu = torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ:
        return 0, torch.device("cuda" if gpu else "cpu")
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if gpu else "gloo")
    return torch.distributed.get_rank(), torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if gpu else "cpu")
