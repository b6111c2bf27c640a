"""Optimisers, the learning rate schedule, mixed precision, and the moving average of the weights."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from lifter.training.cpu_bfloat16 import CpuBfloat16
from lifter.training.recipe import OptimiserSettings

MIN_MUON_SIDE = 16  # smaller matrices (the embedding, the head) are optimised by AdamW


class AveragedWeights:
    """Exponential moving average of a model's state; the decay rises from 0.1, to forget the first steps."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, share)
            else:
                self.state[name].copy_(value)


def learning_rate(settings: OptimiserSettings, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of step `step` of `steps`."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    if settings.decay == "epoch":
        times = step // steps_per_epoch // settings.gamma_epochs
        fifths = times // 5 if settings.gamma_fifth else 0
        return settings.lr * settings.gamma ** (times - fifths) * (settings.gamma_fifth or 1.0) ** fifths
    if settings.decay == "plateau":
        return settings.lr * min(1.0, (steps - step) / max(1.0, settings.tail * steps))
    return settings.lr * 0.5 * (1 + math.cos(math.pi * step / steps))


def precision(device: torch.device, mixed: bool) -> AbstractContextManager[Any]:
    """Context in which a batch is computed: float32, or bfloat16 where that is faster."""
    if not mixed:
        return nullcontext()
    return CpuBfloat16() if device.type == "cpu" else torch.autocast(device.type, torch.bfloat16)


def make_optimiser(model: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """The optimiser of all parameters that require a gradient."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if settings.kind == "adam_amsgrad":
        return torch.optim.Adam(parameters, lr=settings.lr, amsgrad=True)
    if settings.kind == "muon":
        return _MuonWithAdamW(parameters, settings)
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if settings.matrices_only:
        matrices, others = [p for p in parameters if p.ndim == 2], [p for p in parameters if p.ndim != 2]
        groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


class _MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices between tokens and AdamW for the other parameters, with one learning rate."""

    def __init__(self, parameters: list[nn.Parameter], settings: OptimiserSettings) -> None:
        lr, decay = settings.lr, settings.weight_decay
        matrices = [p for p in parameters if p.ndim == 2 and min(p.shape) >= MIN_MUON_SIDE]
        others = [p for p in parameters if not any(p is matrix for matrix in matrices)]
        rate = "match_rms_adamw"  # one learning rate suits both optimisers
        self._muon: Any = torch.optim.Muon(matrices, lr=lr, weight_decay=decay, adjust_lr_fn=rate)
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
