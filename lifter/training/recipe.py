"""What a training config says: model, data, losses, optimiser, stages; read strictly from YAML."""

from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from lifter.spec import LifterSpec
from stream.errors import ConfigError


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the training: `steps` optimiser steps of `batch` windows.

    frames: length of the windows; 0 is the model's own. A shorter one trains the same weights on less
    time (`lifter.training.crop`); keep: its schedule's kept frames.
    """

    steps: int
    batch: int
    frames: int = 0
    keep: tuple[int, ...] = ()


class Optimiser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """AdamW, or Adam with amsgrad.

    decay: "cosine" to zero over all steps; "plateau" stays and falls over the last `tail` of the steps;
    "epoch" multiplies by `gamma` per epoch (and by `gamma_every` each fifth). warmup in steps.
    clip: largest norm of the gradient, 0 for none; ema: decay of the averaged weights, 0 for none.
    """

    kind: Literal["adamw", "adam_amsgrad"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    decay: Literal["cosine", "plateau", "epoch"] = "cosine"
    tail: float = 0.3
    gamma: float = 0.99
    gamma_fifth: float = 1.0
    warmup: int = 0
    clip: float = 1.0
    ema: float = 0.0


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run.

    data: `type` ("motion", "h36m", "mpi3dhp", "clips") and that dataset's own settings; loss: weights by
    name (`lifter.training.losses`); epochs: passes over a dataset that has an end, instead of stages.
    amp: bfloat16 autocast; checkpoint_minutes between checkpoints; log_steps between lines of the log.
    """

    lifter: LifterSpec
    data: dict[str, Any]
    loss: dict[str, float]
    optimiser: Optimiser = Optimiser()
    stages: tuple[Stage, ...] = ()
    epochs: int = 0
    batch: int = 0
    seed: int = 1
    amp: bool = False
    flip: bool = True
    checkpoint_minutes: float = 3.0
    log_steps: int = 50
    out: str = "runs"


def load(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a config; `overrides` are `key.sub=value` with YAML values."""
    if not path.is_file():
        raise ConfigError(f"train: expected a config file at {path}, found none")
    tree = yaml.safe_load(path.read_text())
    for item in overrides:
        key, found, value = item.partition("=")
        if not found:
            raise ConfigError(f"--set: expected key=value, got {item!r}")
        _put(tree, key.split("."), yaml.safe_load(value))
    try:
        return msgspec.convert(tree, Recipe, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error


def _put(tree: Any, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        tree = tree[int(key)] if isinstance(tree, list) else tree.setdefault(key, {})
    if isinstance(tree, list):
        tree[int(keys[-1])] = value
    else:
        tree[keys[-1]] = value
