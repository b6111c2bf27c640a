"""The checkpoint of a training run: read with one clear error, and refused for another recipe."""

from pathlib import Path
from typing import Any

import msgspec
import torch

from lifter.training.recipe import Recipe
from stream.errors import ConfigError

# A resumed run may change these: they decide where and how fast it trains, and not what it learns.
_FREE_SETTINGS = ("workers", "evaluate_epochs", "checkpoint_minutes", "log_steps", "out")


def stored_recipe(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that a resumed run has to share, as plain values."""
    settings: dict[str, Any] = msgspec.to_builtins(recipe)
    return {name: value for name, value in settings.items() if name not in _FREE_SETTINGS}


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """The state that `Trainer.save` wrote. ConfigError for a damaged file or another program's."""
    try:
        state = torch.load(path, weights_only=True, map_location=device)
    except Exception as error:  # torch raises many types for junk
        raise ConfigError(
            f"{path}: the checkpoint is damaged ({type(error).__name__}); remove it to start again"
        ) from error
    if not isinstance(state, dict) or "recipe" not in state:
        raise ConfigError(f"{path}: expected a checkpoint of this version; remove it to start again")
    return state


def check_recipe(path: Path, stored: dict[str, Any], recipe: Recipe) -> None:
    """Raise ConfigError, which names the settings, unless a checkpoint was trained by this recipe."""
    differences = list(_differences("", stored, stored_recipe(recipe)))
    if differences:
        raise ConfigError(
            f"{path}: the checkpoint was trained by another recipe: {'; '.join(differences[:3])}; "
            "undo the change, remove the checkpoint, or choose another folder with --set out=FOLDER"
        )


def _differences(name: str, old: Any, new: Any) -> list[str]:
    """Settings that differ, as "lifter.schedule.keep was [121, 81] and is [81]"."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys((*old, *new))
        return [
            line
            for key in keys
            for line in _differences(f"{name}.{key}" if name else key, old.get(key), new.get(key))
        ]
    return [] if old == new else [f"{name} was {old} and is {new}"]
