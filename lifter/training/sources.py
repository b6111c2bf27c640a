"""Where a recipe's data comes from: a source of training batches and the sequences it is tested on.

Settings under `data:` by type, all files in the folder given with --data:
  motion       file: motion capture (`lifter.training.motion`); shares: how often sources are drawn;
               test_file: held-out motion capture.
  h36m         detector: "cpn_ft_h36m_dbb" or "gt"; every: frames per frame used; stride between windows.
  mpi3dhp      stride.
  motionbert   file: the pickle, or a folder of clips; stride.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

from lifter.data import h36m, motionbert, mpi3dhp
from lifter.data import mocap as motion
from lifter.data.sequence import LabelledSequence as Sequence
from lifter.synthesis import test_clips as benchmark
from lifter.training.batch import Batch
from lifter.training.recipe import Recipe
from lifter.training.synthetic import Films
from lifter.training.videos import Videos
from stream.errors import ConfigError

_SETTINGS = {
    "motion": {"file", "shares", "test_file"},
    "h36m": {"detector", "every", "stride"},
    "mpi3dhp": {"stride"},
    "motionbert": {"file", "stride"},
}


class Source(Protocol):
    """Batches by the number of the step they are for."""

    steps: int
    steps_per_epoch: int

    def make(self, step: int, rank: int = 0) -> Batch: ...


def training(plan: Recipe, folder: Path, processes: int = 1) -> Source:
    """The batches a recipe trains on; an epoch is shared among `processes`."""
    settings = _checked(plan)
    if settings["type"] == "motion":
        if not plan.stages:
            raise ConfigError("data: motion capture has no epochs; say `stages` with steps instead")
        return Films(motion.read_mocap(folder / settings["file"], settings.get("shares")), plan)
    stride = int(settings.get("stride", plan.lifter.frames))
    return Videos(_videos(plan, folder, "train"), plan, stride, processes)


def testing(plan: Recipe, folder: Path, every: int) -> Iterator[Sequence]:
    """Every `every`-th sequence a recipe is tested on; none where it names no test data."""
    settings = _checked(plan)
    if settings["type"] == "motion":
        file = settings.get("test_file")
        return benchmark.synthetic_sequences(folder / file, every=every) if file else iter(())
    return islice(iter(_videos(plan, folder, "test")), 0, None, every)


def _videos(plan: Recipe, folder: Path, split: str) -> Iterable[Sequence]:
    settings = plan.data
    if settings["type"] == "h36m":
        return h36m.read_h36m(
            folder, split, settings.get("detector", "cpn_ft_h36m_dbb"), int(settings.get("every", 1))
        )
    if settings["type"] == "mpi3dhp":
        return mpi3dhp.read_mpi3dhp(folder, split)
    return motionbert.read_motionbert(folder / settings["file"], split)


def _checked(plan: Recipe) -> dict:
    kind = plan.data.get("type")
    if kind not in _SETTINGS:
        raise ConfigError(f"data.type: expected one of {', '.join(_SETTINGS)}, got {kind!r}")
    for key in plan.data.keys() - {"type"}:
        if key not in _SETTINGS[kind]:
            raise ConfigError(f"data.{key}: expected one of {', '.join(sorted(_SETTINGS[kind]))} for {kind}")
    return plan.data
