"""Turns a released checkpoint file into weights of ours, without ever running what is in it."""

import pickle
from pathlib import Path
from typing import Any

import msgspec
import torch

from lifter.official import from_official, settings_of
from lifter.spec import LifterSpec, Schedule
from lifter.weights import ARCHS, build, load_strictly, save
from stream.errors import CheckpointError, ConfigError


def import_weights(
    arch: str, file: Path | str, output: Path | str, schedule: Schedule | None = None, **config: Any
) -> LifterSpec:
    """Write a released checkpoint as weights of ours; answers with their spec.

    A model that was released to answer for the centre frame does so after importing too.
    """
    row, settings = settings_of(arch, schedule, config)
    if row.build not in ARCHS:
        raise ConfigError(f"{arch}: expected a whole lifter, but it is a part of one")
    model = from_official(arch, read(file), schedule, **config)
    frames, joints, in_channels = model.shape  # type: ignore[misc]
    schedule = settings.pop("schedule")
    if schedule is not None and schedule.recoverer == "none":
        schedule = msgspec.structs.replace(schedule, recoverer="centre")
    settings.pop("frames", None)
    spec = LifterSpec(
        name=Path(output).stem,
        arch=row.build,
        frames=frames,
        joints=joints,
        in_channels=in_channels,
        output="centre"
        if row.build == "mhformer" or (schedule and schedule.recoverer == "centre")
        else "sequence",
        normalise=row.normalise,
        schedule=schedule,
        config=settings,
        licence="as the authors of the checkpoint say",
        trained_on="Human3.6M, by its authors",
    )
    lifter = build(spec)
    load_strictly(lifter, model.state_dict(), arch)
    return save(output, lifter, spec)


def read(file: Path | str) -> Any:
    """A released checkpoint file; it is never run: whatever is not a tensor or plain data is refused."""
    if not Path(file).is_file():
        raise CheckpointError(f"{file}: expected a checkpoint file, found none")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{file}: expected a checkpoint of tensors and plain data, but: {reason}"
        ) from error
