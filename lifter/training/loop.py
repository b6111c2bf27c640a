"""The training loop: steps, checkpoints, and resuming with the same bits after an interruption."""

import copy
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from lifter.training.batch import TrainingBatch, step_seed
from lifter.training.checkpoint import check_recipe, read_checkpoint, stored_recipe
from lifter.training.objective import Objective
from lifter.training.optimiser import AveragedWeights, learning_rate, make_optimiser, precision
from lifter.training.progress import TrainingLog
from lifter.training.recipe import Recipe
from lifter.training.sources import BatchSource
from lifter.training.symmetry import LeftRightSymmetry
from stream.errors import ConfigError
from stream.files.cache import write_atomically

CHECKPOINT = "checkpoint.pt"
_EXIT_AFTER_SIGTERM = 143  # 128 + the number of the signal, as shells count
# Other processes wait this long for the first one, which tests and saves alone.
_MAX_WAIT = timedelta(hours=2)


class Trainer:
    """Trains a model by a recipe; `folder` holds its checkpoint and its log.

    Under torchrun every process makes its own batches, DDP averages their gradients, and the process of rank
    0 writes the files.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, source: BatchSource, folder: Path) -> None:
        self.rank, self.device = _rank_and_device()
        torch.backends.cuda.matmul.allow_tf32 = recipe.tf32
        self.model, self.recipe, self.source, self.folder = model.to(self.device), recipe, source, folder
        self.objective = Objective(self.model, recipe, self.rank)
        self.parallel: nn.Module = self.objective
        if torch.distributed.is_initialized():
            self.parallel = DistributedDataParallel(self.objective)
        self.optimiser = make_optimiser(self.model, recipe.optimiser)
        self.symmetry = LeftRightSymmetry(recipe.lifter, self.model) if recipe.symmetric else None
        self.average = AveragedWeights(self.model, recipe.optimiser.ema) if recipe.optimiser.ema else None
        self.step, self.step_is_complete, self.stop_requested = 0, True, False
        self.best_mpjpe = float("inf")
        folder.mkdir(parents=True, exist_ok=True)

    def fit(
        self,
        log: TrainingLog,
        evaluate: Callable[[], dict[str, float]],
        keep_best: Callable[[], object] = lambda: None,
    ) -> None:
        """Train to the last step, or to a SIGTERM, which ends the process with a checkpoint.

        evaluate: returns test metrics, after every `recipe.evaluate_epochs`. keep_best: called after the test
        with the lowest MPJPE so far.
        """
        steps = self.source.steps
        log.begin(self.step, steps)
        try:
            with self._stop_on_sigterm():
                self._train_steps(log, evaluate, keep_best, steps)
        finally:
            # After an interruption, too, unless within a step: the same command resumes from here.
            if self.rank == 0 and self.step_is_complete:
                self.save()
            log.end()

    def _train_steps(
        self,
        log: TrainingLog,
        evaluate: Callable[[], dict[str, float]],
        keep_best: Callable[[], object],
        steps: int,
    ) -> None:
        saved_s = time.monotonic()
        for batch in self._batches(steps):
            self.step_is_complete = False
            loss, rate = self._train_step(batch, steps)
            self.step += 1
            self.step_is_complete = True
            log.add_step(self.step, loss, rate)
            epochs_end = self.step % (self.source.steps_per_epoch * self.recipe.evaluate_epochs) == 0
            if self.rank == 0 and epochs_end:
                metrics = evaluate()
                log.add_test(self.step, metrics)
                if metrics.get("mpjpe", float("inf")) < self.best_mpjpe:
                    self.best_mpjpe = metrics["mpjpe"]
                    keep_best()
            overdue = time.monotonic() - saved_s > 60 * self.recipe.checkpoint_minutes
            if self.rank == 0 and (epochs_end or overdue):
                self.save()
                saved_s = time.monotonic()
            if self.stop_requested:
                raise SystemExit(_EXIT_AFTER_SIGTERM)

    def request_stop(self) -> None:
        """End after the current step, with a checkpoint; `fit` then raises SystemExit."""
        self.stop_requested = True

    @contextmanager
    def _stop_on_sigterm(self) -> Iterator[None]:
        """End after the current step when a cluster or a container asks this process to stop."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def request(number: int, frame: FrameType | None) -> None:
            self.request_stop()

        previous = signal.signal(signal.SIGTERM, request)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _train_step(self, batch: TrainingBatch, steps: int) -> tuple[Tensor, float]:
        """Loss and learning rate of one step of the optimiser."""
        settings = self.recipe.optimiser
        rate = learning_rate(settings, self.step, steps, self.source.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # Seeds stochastic depth and dropout: a resumed run draws the same numbers.
        torch.manual_seed(step_seed(self.recipe.seed, self.step, self.rank))
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
            pin_memory=self.device.type == "cuda",
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
            "steps": self.source.steps,
            "recipe": stored_recipe(self.recipe),
            "best_mpjpe": self.best_mpjpe,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.average.state if self.average else {},
        }
        with write_atomically(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)

    def resume(self) -> bool:
        """Load the folder's checkpoint; False without one.

        Raises ConfigError for a damaged one, and for one of another recipe, other data or another number of
        processes.
        """
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return False
        state = read_checkpoint(path, self.device)
        check_recipe(path, state["recipe"], self.recipe)
        if state["steps"] != self.source.steps:
            raise ConfigError(
                f"{path}: the checkpoint belongs to a run of {state['steps']} steps, and this data with this "
                f"number of processes takes {self.source.steps}; resume with the same data and processes"
            )
        try:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"{path}: the checkpoint does not fit this model; remove it or choose another folder with "
                f"--set out=FOLDER ({str(error)[:200]})"
            ) from error
        self.step, self.best_mpjpe = state["step"], state["best_mpjpe"]
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
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if gpu else "cpu")
    if gpu:
        torch.cuda.set_device(device)  # without it, every process opens a context on the first GPU, too
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            "nccl" if gpu else "gloo", timeout=_MAX_WAIT, device_id=device if gpu else None
        )
    return torch.distributed.get_rank(), device
