"""The data of a recipe: a source of training batches, and the sequences of its test.

Settings under `data:` by type; all files lie in the folder given with --data:
  motion       file: motion capture (`lifter.data.mocap`); shares: how often each source is drawn;
               test_file: held-out motion capture; detector: `lifter.synthesis.detector_habits`;
               cold_starts: share of windows with a short history, as in a person's first seconds.
  h36m         detector: "cpn_ft_h36m_dbb" or "gt"; every: use every n-th frame; stride between windows.
  mpi3dhp      stride.
  motionbert   file: the pickle, or a folder of clips; stride.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from lifter.data import h36m, mocap, motionbert, mpi3dhp
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.protocol import Dataset
from lifter.synthesis import synthetic_clips
from lifter.training.batch import TrainingBatch
from lifter.training.dataset_batches import DatasetBatches
from lifter.training.mocap_batches import MocapBatches
from lifter.training.recipe import Recipe
from stream.errors import ConfigError

_SETTINGS = {
    "motion": {"file", "shares", "test_file", "detector", "cold_starts"},
    "h36m": {"detector", "every", "stride"},
    "mpi3dhp": {"stride"},
    "motionbert": {"file", "stride"},
}


class BatchSource(Protocol):
    """Makes the batch of any step of a training run."""

    steps: int
    steps_per_epoch: int

    def make(self, step: int, rank: int = 0) -> TrainingBatch: ...


def training_batches(recipe: Recipe, folder: Path, processes: int = 1) -> BatchSource:
    """The training batches of a recipe; `processes` share an epoch. Raises ConfigError for wrong settings."""
    settings = _checked_settings(recipe)
    if settings["type"] == "motion":
        if not recipe.stages:
            raise ConfigError("data: motion capture has no epochs; set `stages` with steps instead")
        return MocapBatches(mocap.read_mocap(folder / settings["file"], settings.get("shares")), recipe)
    stride = int(settings.get("stride", recipe.lifter.frames))
    whole = settings["type"] == "motionbert"
    return DatasetBatches(_videos(recipe, folder, "train"), recipe, stride, processes, whole)


def held_out_sequences(recipe: Recipe, folder: Path) -> Iterator[LabelledSequence]:
    """The test sequences of a recipe; none for a recipe without test data."""
    settings = _checked_settings(recipe)
    if settings["type"] == "motion":
        file = settings.get("test_file")
        return synthetic_clips.synthetic_sequences(folder / file) if file else iter(())
    return iter(_videos(recipe, folder, "test"))


def dataset_of(recipe: Recipe) -> Dataset:
    """The dataset of a recipe, as `lifter.evaluation.protocol` names it."""
    datasets: dict[str, Dataset] = {"h36m": "h36m", "mpi3dhp": "mpi3dhp", "motionbert": "motionbert"}
    return datasets.get(_checked_settings(recipe)["type"], "other")


def _videos(recipe: Recipe, folder: Path, split: str) -> Iterable[LabelledSequence]:
    settings = recipe.data
    if settings["type"] == "h36m":
        return h36m.read_h36m(
            folder, split, settings.get("detector", h36m.DETECTOR), int(settings.get("every", 1))
        )
    if settings["type"] == "mpi3dhp":
        return mpi3dhp.read_mpi3dhp(folder, split)
    return motionbert.read_motionbert(folder / settings["file"], split)


def _checked_settings(recipe: Recipe) -> dict[str, Any]:
    kind = recipe.data.get("type")
    if kind not in _SETTINGS:
        raise ConfigError(f"data.type: expected one of {', '.join(_SETTINGS)}, got {kind!r}")
    for key in recipe.data.keys() - {"type"}:
        if key not in _SETTINGS[kind]:
            raise ConfigError(f"data.{key}: expected one of {', '.join(sorted(_SETTINGS[kind]))} for {kind}")
    return recipe.data
