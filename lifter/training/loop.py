"""The one training loop: steps, checkpoints, a log that a person can read, the same bits after a kill."""

import copy
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from lifter.training.batch import Batch
from lifter.training.objective import Objective
from lifter.training.optimiser import Ema, learning_rate, make_optimiser, precision
from lifter.training.progress import Report
from lifter.training.recipe import Recipe
from lifter.training.sources import Source
from lifter.training.symmetry import Mirror
from stream.errors import ConfigError
from stream.files.cache import write_atomically

CHECKPOINT = "checkpoint.pt"


class Trainer:
    """Takes a model through the steps of a recipe; `folder` holds its checkpoint and its log.

    Under torchrun every process makes its own batches and DDP averages their gradients; the first one writes.
    """

    def __init__(self, model: nn.Module, plan: Recipe, source: Source, folder: Path) -> None:
        self.rank, self.device = _process()
        self.model, self.plan, self.source, self.folder = model.to(self.device), plan, source, folder
        self.objective = Objective(self.model, plan)
        self.parallel: nn.Module = self.objective
        if torch.distributed.is_initialized():
            self.parallel = DistributedDataParallel(self.objective)
        self.optimiser = make_optimiser(self.model, plan.optimiser)
        self.mirror = Mirror(plan.lifter, self.model) if plan.symmetric else None
        self.ema = Ema(self.model, plan.optimiser.ema) if plan.optimiser.ema else None
        self.step, self.whole = 0, True
        folder.mkdir(parents=True, exist_ok=True)

    def fit(self, report: Report, evaluate: Callable[[], dict[str, float]]) -> None:
        """Train to the last step; `evaluate` is asked after every `plan.evaluate_epochs`."""
        steps = self.source.steps
        report.begin(self.step, steps)
        try:
            self._steps(report, evaluate, steps)
        finally:
            # Also when interrupted, unless in the middle of a step: the same command goes on from here.
            if self.rank == 0 and self.whole:
                self.save()
            report.end()

    def _steps(self, report: Report, evaluate: Callable[[], dict[str, float]], steps: int) -> None:
        saved = time.monotonic()
        for batch in self._batches(steps):
            self.whole = False
            loss, rate = self._step(batch, steps)
            self.step += 1
            self.whole = True
            report.stepped(self.step, loss, rate)
            ended = self.step % (self.source.steps_per_epoch * self.plan.evaluate_epochs) == 0
            if self.rank == 0 and ended:
                report.tested(self.step, evaluate())
            if self.rank == 0 and (ended or time.monotonic() - saved > 60 * self.plan.checkpoint_minutes):
                self.save()
                saved = time.monotonic()

    def _step(self, batch: Batch, steps: int) -> tuple[Tensor, float]:
        """One step of the optimiser; answers with its loss and learning rate."""
        settings = self.plan.optimiser
        rate = learning_rate(settings, self.step, steps, self.source.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # Stochastic depth and dropout draw from here: the same after a resume as without one.
        torch.manual_seed(self.plan.seed * 1_000_003 + self.step)
        self.model.train()
        with precision(self.device, self.plan.amp):
            loss = self.parallel(batch.to(self.device), self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.mirror:
            self.mirror.even_gradients(self.model)
        if settings.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimiser.step()
        if self.ema:
            self.ema.update(self.model, self.step)
        return loss.detach(), rate

    def _batches(self, steps: int) -> DataLoader:
        """Batches from the step that comes next, made ahead by the recipe's worker processes."""
        return DataLoader(
            _Steps(self.source, self.rank),
            batch_size=None,
            sampler=range(self.step, steps),
            num_workers=self.plan.workers,
            pin_memory=False,
        )

    def averaged(self) -> nn.Module:
        """The model to use and to test: with the running average of the weights where there is one."""
        model = copy.deepcopy(self.model)
        if self.ema:
            model.load_state_dict(self.ema.weights)
        return model.eval()

    def save(self) -> None:
        """Write everything that going on needs, in one move: a kill leaves the old checkpoint or the new."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.weights if self.ema else {},
        }
        with write_atomically(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False when there is none."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True, map_location=self.device)
        try:
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"{path}: expected the checkpoint of this config, but it is one of another model; "
                f"remove it or choose another folder with --set out=FOLDER ({str(error)[:200]})"
            ) from error
        self.step = state["step"]
        if self.ema:
            self.ema.weights = state["ema"]
        return True


class _Steps(Dataset):
    """Batches by step number, as a DataLoader wants them."""

    def __init__(self, source: Source, rank: int) -> None:
        self.source, self.rank = source, rank

    def __getitem__(self, step: int) -> Batch:
        return self.source.make(step, self.rank)


def _process() -> tuple[int, torch.device]:
    """Rank and device of this process; joins the others when torchrun started it."""
    gpu = torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ:
        return 0, torch.device("cuda" if gpu else "cpu")
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if gpu else "gloo")
    return torch.distributed.get_rank(), torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if gpu else "cpu")
