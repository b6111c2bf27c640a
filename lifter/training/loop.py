"""The one training loop: steps, checkpoints, a log that a person can read, the same bits after a kill."""

import copy
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from lifter.training.batch import Batch
from lifter.training.data import Source
from lifter.training.half import Half
from lifter.training.mirror import Mirror
from lifter.training.objective import Objective
from lifter.training.recipe import Optimiser, Recipe
from lifter.training.report import Report
from stream.errors import ConfigError

CHECKPOINT = "checkpoint.pt"
_LEAST_SIDE = 16  # of a matrix that Muon takes care of


class Ema:
    """Running average of a model's state, slow to start so that the first steps are forgotten."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, share)
            else:
                self.weights[name].copy_(value)


def learning_rate(settings: Optimiser, step: int, steps: int, steps_per_epoch: int) -> float:
    """The rate of step `step` out of `steps`."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    if settings.decay == "epoch":
        epoch = step // steps_per_epoch
        fifths = epoch // 5 if settings.gamma_fifth else 0
        return settings.lr * settings.gamma ** (epoch - fifths) * (settings.gamma_fifth or 1.0) ** fifths
    if settings.decay == "plateau":
        return settings.lr * min(1.0, (steps - step) / max(1.0, settings.tail * steps))
    return settings.lr * 0.5 * (1 + math.cos(math.pi * step / steps))


def precision(device: torch.device, mixed: bool) -> AbstractContextManager[Any]:
    """In which a batch is computed: float32, or bfloat16 where that is quicker and exact enough."""
    if not mixed:
        return nullcontext()
    return Half() if device.type == "cpu" else torch.autocast(device.type, torch.bfloat16)


def make_optimiser(model: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    """The optimiser of the parameters that want a gradient."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    if settings.kind == "adam_amsgrad":
        return torch.optim.Adam(wanted, lr=settings.lr, amsgrad=True)
    if settings.kind == "muon":
        return _Muon(wanted, settings)
    groups: list[dict[str, Any]] = [{"params": wanted}]
    if settings.matrices_only:
        matrices, others = [p for p in wanted if p.ndim == 2], [p for p in wanted if p.ndim != 2]
        groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


class _Muon(torch.optim.Optimizer):
    """Muon for the matrices between tokens and AdamW for the rest, under one learning rate."""

    def __init__(self, wanted: list[nn.Parameter], settings: Optimiser) -> None:
        lr, decay = settings.lr, settings.weight_decay
        # Embedding and head, which lead from and to single coordinates, are not for Muon.
        matrices = [p for p in wanted if p.ndim == 2 and min(p.shape) >= _LEAST_SIDE]
        others = [p for p in wanted if not any(p is matrix for matrix in matrices)]
        self._muon = torch.optim.Muon(matrices, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        self._adamw = torch.optim.AdamW(others, lr=lr, weight_decay=0.0, fused=True)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]


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
        unfinished = self.folder / f"{CHECKPOINT}.part"
        torch.save(state, unfinished)
        os.replace(unfinished, self.folder / CHECKPOINT)

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
