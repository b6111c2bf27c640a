"""Converts a released checkpoint file to a weights file, without running any code in it."""

import io
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
    """Write a released checkpoint as a weights file; returns its spec.

    arch: a name in `lifter.checkpoints.official.OFFICIAL`. config: as the authors name it.
    A model released for the centre frame (seq2frame) keeps that output. DiffPose needs two files: its graph
    network's, and as config `pose` that of the MixSTE that it refines.
    Raises ConfigError for settings that do not fit and CheckpointError for files that do not.
    """
    pose = config.pop("pose", None) if arch == "diffpose" else None
    row, settings = settings_of(arch, schedule, config)
    if row.build not in ARCHS:
        raise ConfigError(f"{arch}: expected a complete lifter, got a part of one; import diffpose")
    state = read_checkpoint(file)
    if arch == "diffpose":
        if pose is None:
            raise ConfigError("diffpose: expected pose=FILE, the checkpoint of the MixSTE that it refines")
        parts = {"pose": unwrap(read_checkpoint(str(pose))), "denoiser": unwrap(state)}
        state = {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}
    model = from_official(arch, state, schedule, **config)
    frames, joints, in_channels = model.shape
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
        licence="of the authors of the checkpoint",
        trained_on="Human3.6M, by its authors",
    )
    lifter = build(spec)
    load_strictly(lifter, model.state_dict(), arch)
    return save(output, lifter, spec)


class _Inert:
    """Replaces every object of a checkpoint that is neither a tensor nor plain data; it does nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_checkpoint(file: Path | str) -> Any:
    """Tensors and plain data of a released checkpoint file; all other objects become inert.

    MixSTE's checkpoint, for example, contains the state of a random generator.
    Raises CheckpointError for a missing file, for junk, and for a file that could run code.
    """
    if not Path(file).is_file():
        raise CheckpointError(f"{file}: expected a checkpoint file, got none")
    _check_is_torch_file(file)
    try:
        with torch.serialization.safe_globals([(_Inert, name) for name in _unsafe_names(file)]):
            # In memory, a length of a damaged file cannot make torch allocate more than the file has.
            return torch.load(io.BytesIO(Path(file).read_bytes()), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: expected tensors and plain data, got a checkpoint with more, which could run code"
        ) from error
    except Exception as error:  # torch raises many types for junk
        raise CheckpointError(f"{file}: expected a checkpoint saved by torch, got: {error!r}") from error


def _check_is_torch_file(file: Path | str) -> None:
    """Raise CheckpointError unless the file begins as a zip archive or a pickle, torch's two formats."""
    with Path(file).open("rb") as opened:
        start = opened.read(4)
    if not start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")):
        content = "an empty file" if not start else f"a file that begins with {start!r}"
        raise CheckpointError(f"{file}: expected a checkpoint saved by torch, got {content}")


def _unsafe_names(file: Path | str) -> list[str]:
    """Names of the types in a checkpoint that are neither tensors nor plain data."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except ValueError:  # the format before torch 1.6 cannot be searched; loading then refuses such types
        return []
