"""Training recipes: model, data, losses, optimiser, stages; read strictly from YAML."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.files.strict_yaml import parse


def _check_minimum(section: str, settings: object, minimum: int, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not minimum <= value < math.inf:  # refuses NaN, too
            raise ConfigError(f"{section}: {name}: expected a number from {minimum}, got {value}")


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the training: `steps` optimiser steps of `batch` windows.

    frames: length of the windows, 0 for the model's own; shorter windows train the same weights in less time
    (`lifter.training.short_windows`). keep: numbers of frames that the short windows' schedule keeps.
    successive: windows per motion, each a frame later than the window before, as live windows are; a batch
    then has `batch` / `successive` motions. Three or more let `live_loss` reduce the jitter of live poses.
    """

    steps: int
    batch: int
    frames: int = 0
    keep: tuple[int, ...] = ()
    successive: int = 1

    def __post_init__(self) -> None:
        _check_minimum("stages", self, 1, "steps", "batch", "successive")
        if self.successive > self.batch:
            raise ConfigError(
                f"stages: successive: expected at most batch = {self.batch}, got {self.successive}"
            )
        _check_minimum("stages", self, 0, "frames")


class OptimiserSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the optimiser.

    kind: AdamW; Adam with amsgrad; or Muon for matrices and AdamW for the other parameters, with one rate.
    decay: "cosine" falls to zero over all steps; "plateau" is constant and falls over the last `tail` of the
    steps; "epoch" multiplies by `gamma` every `gamma_epochs` epochs, and by `gamma_fifth` instead
    at every fifth time.
    warmup: steps in which the rate rises. matrices_only: no weight decay for norms, biases and embeddings.
    clip: largest norm of the gradient, 0 for no limit. ema: decay of the averaged weights, 0 for no average.
    """

    kind: Literal["adamw", "adam_amsgrad", "muon"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    matrices_only: bool = False
    decay: Literal["cosine", "plateau", "epoch"] = "epoch"
    tail: float = 0.3
    gamma: float = 0.99
    gamma_fifth: float = 0.0
    gamma_epochs: int = 1
    warmup: int = 0
    clip: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        names = ("lr", "weight_decay", "tail", "gamma", "warmup", "clip", "ema")
        _check_minimum("optimiser", self, 0, *names)
        _check_minimum("optimiser", self, 1, "gamma_epochs")


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one training run.

    lifter: the model to train. data: `type` ("motion", "h36m", "mpi3dhp", "motionbert") and the settings of
    that dataset (`lifter.training.sources`). loss: weights by name (`lifter.training.losses`). live_loss:
    weights of losses of the newest poses of successive windows, which are the poses that live use publishes.
    stages, or epochs: stages of some steps each, or epochs over the data in batches of `batch` windows.
    flip: true mirrors half of the windows at random; "both" has every window twice in an epoch, plain and
    mirrored. test_flip: average each pose with the mirrored input's pose in tests.
    pipeline: the mode of the test (`lifter.evaluation.evaluate`).
    supervise: the frames of a window in the loss: all frames, the frames that pruning kept, the centre frame,
    or a number of evenly spaced frames.
    start_from: a weights file whose values initialise the model, or its module `start_into`. start_paired: it
    holds a network of half the width, of which two copies are joined (`lifter.training.widen`).
    symmetric: a mirrored window gives the mirrored pose (`lifter.training.symmetry`).
    amp: bfloat16 where that is faster. tf32: shorter factors in float32 products on a GPU, as the paper's
    torch 1.7 had by default. workers: processes that make batches ahead. evaluate_epochs: epochs
    between tests. checkpoint_minutes, log_steps: minutes between checkpoints, steps between lines of the log.
    out: the folder in which the run makes a folder of its own.
    """

    lifter: LifterSpec
    data: dict[str, Any]
    loss: dict[str, float] = msgspec.field(default_factory=lambda: {"mpjpe": 1.0})
    live_loss: dict[str, float] = {}
    optimiser: OptimiserSettings = OptimiserSettings()
    stages: tuple[Stage, ...] = ()
    epochs: int = 0
    batch: int = 4
    seed: int = 1
    amp: bool = False
    tf32: bool = False
    flip: bool | Literal["both"] = True
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
        if self.live_loss and all(stage.successive == 1 for stage in self.stages):
            raise ConfigError("train: live_loss: expected a stage with `successive` of 2 or more beside it")
        _check_minimum("train", self, 1, "batch", "evaluate_epochs", "log_steps")
        _check_minimum("train", self, 0, "epochs", "workers", "checkpoint_minutes")


def load(config: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from `FILE`, or from `FILE:ROW` of a file of several rows.

    overrides: `key.sub=value` with YAML values. A file of rows has `rows`: name -> settings that change the
    recipe of the file that the row's `base` names. Raises ConfigError for anything else.
    """
    file, _, row = str(config).partition(":")
    tree = _read(Path(file))
    if "rows" in tree:
        tree = _read_row(Path(file), tree["rows"], row)
    elif row:
        raise ConfigError(f"{file}: expected a file with `rows` to take {row!r} from")
    for override in overrides:
        _override(tree, override)
    try:
        return msgspec.convert(tree, Recipe, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{config}: {error}") from error


def _read_row(file: Path, rows: dict[str, Any], row: str) -> dict[str, Any]:
    """The settings of a row's base file, changed by the row and named after it."""
    if row not in rows:
        raise ConfigError(f"{file}: expected FILE:ROW with one of {', '.join(rows)}, got {row!r}")
    changes = {"lifter.name": f"{file.stem}-{row}"} | rows[row]
    tree = _read(file.with_name(changes.pop("base") + ".yaml"))
    for key, value in changes.items():
        _put(tree, key.split("."), value)
    return tree


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set: expected key=value, got {override!r}")
    try:
        _put(tree, key.split("."), parse(text, f"--set {override}"))
    except (LookupError, ValueError, AttributeError, TypeError):
        raise ConfigError(
            f"--set {override}: expected a key of the recipe and a YAML value, such as "
            "optimiser.lr=0.001, or stages.0.steps=100 for the first of its stages"
        ) from None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"train: expected a config file at {path}, found none")
    tree = parse(path.read_text(), str(path))
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected settings, got {type(tree).__name__}")
    return tree


def _put(tree: Any, keys: list[str], value: Any) -> None:
    """Set a nested value; integers among the keys index lists. Makes missing sections."""
    for key in keys[:-1]:
        tree = tree[int(key)] if isinstance(tree, list) else tree.setdefault(key, {})
    if isinstance(tree, list):
        tree[int(keys[-1])] = value
    else:
        tree[keys[-1]] = value
