"""Turns a released checkpoint file into weights of ours, without ever running what is in it."""

import pickle
from pathlib import Path
from typing import Any

import msgspec
import torch

from lifter.checkpoints.official import from_official, settings_of, unwrap
from lifter.spec import LifterSpec, Schedule
from lifter.weights import ARCHS, build, load_strictly, save
from stream.errors import CheckpointError, ConfigError


def import_weights(
    arch: str, file: Path | str, output: Path | str, schedule: Schedule | None = None, **config: Any
) -> LifterSpec:
    """Write a released checkpoint as weights of ours; answers with their spec.

    A model that was released to answer for the centre frame does so after importing too.
    DiffPose takes two files: its graph network's, and as `pose` that of the MixSTE which it refines.
    """
    pose = config.pop("pose", None) if arch == "diffpose" else None
    row, settings = settings_of(arch, schedule, config)
    if row.build not in ARCHS:
        raise ConfigError(f"{arch}: expected a whole lifter, but it is a part of one; import diffpose")
    state = read(file)
    if arch == "diffpose":
        if pose is None:
            raise ConfigError("diffpose: expected pose=FILE, the checkpoint of the MixSTE that it refines")
        parts = {"pose": unwrap(read(str(pose))), "denoiser": unwrap(state)}
        state = {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}
    model = from_official(arch, state, schedule, **config)
    frames, joints, in_channels = model.shape  # type: ignore[misc]
    schedule = settings.pop("schedule")
    if schedule is not None and schedule.recoverer == "none":
        schedule = msgspec.structs.replace(schedule, recoverer="centre")
    to_centre = row.build == "mhformer" or (schedule is not None and schedule.recoverer == "centre")
    settings.pop("frames", None)
    spec = LifterSpec(
        name=Path(output).stem,
        arch=row.build,
        frames=frames,
        joints=joints,
        in_channels=in_channels,
        output="centre" if to_centre else "sequence",
        normalise=row.normalise,
        schedule=schedule,
        config=settings,
        licence="as the authors of the checkpoint say",
        trained_on="Human3.6M, by its authors",
    )
    lifter = build(spec)
    load_strictly(lifter, model.state_dict(), arch)
    return save(output, lifter, spec)


class _Inert:
    """Stands in for whatever a checkpoint holds besides tensors and plain data; nothing of it is run."""

    def __init__(self, *parts: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read(file: Path | str) -> Any:
    """What a released checkpoint file holds: tensors and plain data, all else replaced by inert objects.

    MixSTE's, for one, holds the state of a random generator beside the weights.
    """
    if not Path(file).is_file():
        raise CheckpointError(f"{file}: expected a checkpoint file, found none")
    try:
        with torch.serialization.safe_globals([(_Inert, name) for name in _foreign(file)]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: expected tensors and plain data, got a checkpoint with more, which could run code"
        ) from error
    except Exception as error:  # junk makes the reader fail in as many ways as there is junk
        raise CheckpointError(f"{file}: expected a checkpoint saved by torch, but: {error!r}") from error


def _foreign(file: Path | str) -> list[str]:
    """Names in a checkpoint of what is neither tensor nor plain data."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except ValueError:  # the format of torch before 1.6, which cannot be searched; it may hold none
        return []
