"""What a training config says: model, data, losses, optimiser, stages; read strictly from YAML."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.files.strict_yaml import parse


def _least(where: str, settings: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not least <= value < math.inf:  # nor NaN
            raise ConfigError(f"{where}: {name}: expected a number from {least}, got {value}")


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the training: `steps` optimiser steps of `batch` windows.

    frames: length of the windows; 0 is the model's own. A shorter one trains the same weights on less
    time (`lifter.training.crop`); keep: its schedule's kept frames.
    """

    steps: int
    batch: int
    frames: int = 0
    keep: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _least("stages", self, 1, "steps", "batch")
        _least("stages", self, 0, "frames")


class Optimiser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """AdamW; Adam with amsgrad; or Muon for matrices with AdamW for the rest, at one rate.

    decay: "cosine" falls to zero over all steps; "plateau" stays and falls over the last `tail` of the
    steps; "epoch" multiplies by `gamma` per epoch, and by `gamma_fifth` instead at every fifth one.
    warmup in steps. matrices_only: weight decay spares norms, biases and embeddings.
    clip: largest norm of the gradient, 0 for none; ema: decay of the averaged weights, 0 for none.
    """

    kind: Literal["adamw", "adam_amsgrad", "muon"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    matrices_only: bool = False
    decay: Literal["cosine", "plateau", "epoch"] = "epoch"
    tail: float = 0.3
    gamma: float = 0.99
    gamma_fifth: float = 0.0
    warmup: int = 0
    clip: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        _least("optimiser", self, 0, "lr", "weight_decay", "tail", "gamma", "warmup", "clip", "ema")


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run.

    lifter: what is trained. data: `type` ("motion", "h36m", "mpi3dhp", "motionbert") and the settings of that
    dataset (`lifter.training.data`). loss: weights by name (`lifter.training.losses`). Either `stages` of so
    many steps, or `epochs` over the data in batches of `batch`. flip: mirror half of the windows; test_flip:
    average with the mirrored answer when evaluating. pipeline: how the papers' test reads the model.
    supervise: which frames of a window enter the loss: all, those that pruning kept, the one in the
    centre, or so many evenly spaced ones.
    start_from: weights whose values are taken where names begin with `start_into`; start_paired: two copies
    of a network half as wide (`lifter.training.widen`).
    symmetric: a mirrored window gives the mirrored pose (`lifter.training.mirror`).
    amp: bfloat16 where that is quicker. workers: processes that make batches ahead. evaluate_epochs
    between tests.
    """

    lifter: LifterSpec
    data: dict[str, Any]
    loss: dict[str, float] = msgspec.field(default_factory=lambda: {"mpjpe": 1.0})
    optimiser: Optimiser = Optimiser()
    stages: tuple[Stage, ...] = ()
    epochs: int = 0
    batch: int = 4
    seed: int = 1
    amp: bool = False
    flip: bool = True
    test_flip: bool = False
    pipeline: Literal["seq2seq", "seq2frame"] = "seq2seq"
    supervise: int | Literal["all", "kept", "centre"] = "all"
    start_from: str = ""
    start_into: str = ""
    start_paired: bool = False
    symmetric: bool = False
    workers: int = 0
    evaluate_epochs: int = 1
    checkpoint_minutes: float = 3.0
    log_steps: int = 50
    out: str = "runs"

    def __post_init__(self) -> None:
        if bool(self.stages) == bool(self.epochs):
            raise ConfigError("train: expected either `stages` (with steps) or `epochs`, and not both")
        if self.start_paired and not self.symmetric:
            raise ConfigError("train: start_paired: expected symmetric: true beside it")
        _least("train", self, 1, "batch", "evaluate_epochs", "log_steps")
        _least("train", self, 0, "epochs", "workers", "checkpoint_minutes")


def load(config: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read `FILE`, or `FILE:ROW` of a file of many rows; `overrides` are `key.sub=value` with YAML values.

    A file of rows names a `base` file beside it and has `rows`: name -> settings put over the base's.
    """
    file, _, row = str(config).partition(":")
    tree = _read(Path(file))
    if "rows" in tree:
        if row not in tree["rows"]:
            raise ConfigError(f"{file}: expected FILE:ROW with one of {', '.join(tree['rows'])}, got {row!r}")
        changes = dict(tree["rows"][row])
        name = {"lifter.name": f"{Path(file).stem}-{row}"}
        tree = _read(Path(file).with_name(changes.pop("base") + ".yaml"))
        for key, value in (name | changes).items():
            _put(tree, key.split("."), value)
    elif row:
        raise ConfigError(f"{file}: expected a file with `rows` to take {row!r} from")
    for item in overrides:
        key, found, text = item.partition("=")
        if not found:
            raise ConfigError(f"--set: expected key=value, got {item!r}")
        try:
            _put(tree, key.split("."), parse(text, f"--set {item}"))
        except (LookupError, ValueError, AttributeError, TypeError):
            raise ConfigError(
                f"--set {item}: expected a key of the recipe and a YAML value, such as "
                "optimiser.lr=0.001, or stages.0.steps=100 for the first of its stages"
            ) from None
    try:
        return msgspec.convert(tree, Recipe, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{config}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"train: expected a config file at {path}, found none")
    tree = parse(path.read_text(), str(path))
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected settings, got {type(tree).__name__}")
    return tree


def _put(tree: Any, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        tree = tree[int(key)] if isinstance(tree, list) else tree.setdefault(key, {})
    if isinstance(tree, list):
        tree[int(keys[-1])] = value
    else:
        tree[keys[-1]] = value
