"""The one training loop: steps, checkpoints, a log that a person can read, the same bits after a kill."""

import csv
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lifter.training.recipe import Optimiser


def seed_step(seed: int, step: int) -> torch.Generator:
    """Random numbers of step `step`: a run that resumes there draws the same ones, whatever came before."""
    number = (seed * 1_000_003 + step) % 2**63
    torch.manual_seed(number)
    return torch.Generator().manual_seed(number + 1)


class Ema:
    """Running average of a model's parameters, slow to start so that the first steps are forgotten."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            self.weights[name].lerp_(value, share)


def learning_rate(settings: Optimiser, step: int, steps: int, steps_per_epoch: int) -> float:
    """The rate of step `step` out of `steps`."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    if settings.decay == "epoch":
        epoch = step // steps_per_epoch
        return (
            settings.lr
            * settings.gamma ** (epoch - epoch // 5)
            * (settings.gamma_fifth or settings.gamma) ** (epoch // 5)
        )
    if settings.decay == "plateau":
        left = (steps - step) / max(1.0, settings.tail * steps)
        return settings.lr * min(1.0, left)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * step / steps))


def make_optimiser(model: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    """AdamW without weight decay on norms, biases and embeddings, or Adam with amsgrad."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    if settings.kind == "adam_amsgrad":
        return torch.optim.Adam(model.parameters(), lr=settings.lr, amsgrad=True)
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


class Trainer:
    """Takes a model through its steps; `folder` holds its checkpoint, its log and its curves."""

    def __init__(self, model: nn.Module, settings: Optimiser, seed: int, folder: Path) -> None:
        self.model, self.settings, self.seed, self.folder = model, settings, seed, folder
        self.optimiser = make_optimiser(model, settings)
        self.ema = Ema(model, settings.ema) if settings.ema else None
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)

    def fit(self, steps: int, loss_of: Callable[[int, torch.Generator], Tensor], report: "Report") -> None:
        """Train up to step `steps`; loss_of(step, generator) -> scalar loss of that step."""
        self.model.train()
        while self.step < steps:
            generator = seed_step(self.seed, self.step)
            rate = learning_rate(self.settings, self.step, steps, report.steps_per_epoch)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            loss = loss_of(self.step, generator)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if self.settings.clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
            self.optimiser.step()
            if self.ema:
                self.ema.update(self.model, self.step)
            self.step += 1
            report.stepped(self, loss.detach(), rate, steps)
        self.save()

    def averaged(self) -> dict[str, Tensor]:
        """The weights to use: the running average where there is one."""
        return self.ema.weights if self.ema else self.model.state_dict()

    def save(self) -> None:
        """Write everything that going on needs, in one move: a kill leaves the old checkpoint or the new."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": self.ema.weights if self.ema else {},
        }
        written = self.folder / "checkpoint.tmp"
        torch.save(state, written)
        os.replace(written, self.folder / "checkpoint.pt")

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False when there is none."""
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        if self.ema:
            self.ema.weights = state["ema"]
        return True


class Report:
    """Writes what a run does: a line for people and a row of `log.csv` every `log_steps`, checkpoints by time."""

    def __init__(
        self,
        log_steps: int,
        checkpoint_minutes: float,
        evaluate: Callable[[Trainer], dict[str, float]] | None = None,
        steps_per_epoch: int = 1,
    ) -> None:
        self.log_steps, self.checkpoint_s = log_steps, 60 * checkpoint_minutes
        self.evaluate, self.steps_per_epoch = evaluate, steps_per_epoch
        self.started = self.saved = self.logged = time.monotonic()
        self.losses: list[Tensor] = []

    def stepped(self, trainer: Trainer, loss: Tensor, rate: float, steps: int) -> None:
        self.losses.append(loss)
        now = time.monotonic()
        if trainer.step % self.log_steps == 0 or trainer.step == steps:
            self._log(trainer, rate, steps, now)
        if now - self.saved > self.checkpoint_s:
            trainer.save()
            self.saved = now

    def _log(self, trainer: Trainer, rate: float, steps: int, now: float) -> None:
        pace = len(self.losses) / max(now - self.logged, 1e-9)
        mean = torch.stack(self.losses).mean().item()
        row = {
            "step": trainer.step,
            "loss": round(mean, 5),
            "lr": round(rate, 7),
            "steps_per_s": round(pace, 2),
        }
        left_s = (steps - trainer.step) / pace
        print(
            f"step {trainer.step}/{steps}  loss {mean:.4f}  lr {rate:.2e}  {pace:.2f} steps/s  "
            f"{(now - self.started) / 60:.1f} min, {left_s / 60:.1f} to go",
            flush=True,
        )
        path = trainer.folder / "log.csv"
        fresh = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        self.losses, self.logged = [], now
