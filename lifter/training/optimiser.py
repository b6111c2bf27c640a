"""Optimisers, the learning rate, and the moving average of the weights."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from lifter.training.cpu_bfloat16 import Half
from lifter.training.recipe import Optimiser

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
