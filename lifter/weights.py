"""Weights on disk: a safetensors file whose metadata holds the lifter's spec. Loading is strict.

Torch is imported only where tensors are touched, so specs can be listed without it.
"""

import hashlib
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lifter.spec import LifterSpec
from stream.errors import CheckpointError, ConfigError
from stream.files.cache import write_atomically

if TYPE_CHECKING:
    from torch import Tensor, dtype, nn

# Built as `Arch(frames=, joints=, in_channels=, schedule=, **spec.config)`.
ARCHS = {
    "mixste": "lifter.architectures.mixste:MixSTE",
    "mhformer": "lifter.architectures.mhformer:MHFormer",
    "motionbert": "lifter.architectures.motionbert:MotionBERT",
    "motionagformer": "lifter.architectures.motionagformer:MotionAGFormer",
    "d3dp": "lifter.architectures.d3dp:D3DP",
    "diffpose": "lifter.architectures.diffpose:DiffPose",
}
# To compare with, in reports; no lifter of the live system.
BASELINES = {"tcn": "lifter.architectures.tcn:TCN"}
_SPEC = "poselift.spec"


def build(spec: LifterSpec) -> "nn.Module":
    """The architecture a spec describes, with fresh weights, ready for inference."""
    if spec.arch not in ARCHS | BASELINES:
        raise ConfigError(f"lifter.arch: expected one of {', '.join(ARCHS)}, got {spec.arch!r}")
    with taking(f"lifter.config: {spec.arch}", spec.config):
        model = imported((ARCHS | BASELINES)[spec.arch])(
            frames=spec.frames,
            joints=spec.joints,
            in_channels=spec.in_channels,
            schedule=spec.schedule,
            **spec.config,
        )
    return model.eval()


@contextmanager
def taking(what: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Settings that an architecture chokes on while it is built are a person's to mend: ConfigError."""
    try:
        yield
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ConfigError(f"{what} does not take {dict(settings)}: {error}") from error


def imported(place: str) -> Any:
    """What "package.module:name" stands for."""
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def save(path: Path | str, model: "nn.Module", spec: LifterSpec, dtype: "dtype | None" = None) -> LifterSpec:
    """Write weights and spec; answers with the spec as written, its sha256 filled in.

    dtype: store floating-point weights in it (torch.float16 halves the file); None keeps theirs.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if dtype is not None:
        tensors = {name: v.to(dtype) if v.is_floating_point() else v for name, v in tensors.items()}
    spec = msgspec.structs.replace(spec, sha256=digest(tensors))
    try:
        with write_atomically(Path(path)) as temporary:
            save_file(tensors, temporary, metadata={_SPEC: msgspec.json.encode(spec).decode()})
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: the weights cannot be written there: {error}") from error
    return spec


def load(path: Path | str) -> tuple["nn.Module", LifterSpec]:
    """The model and spec of a file written by `save`. Raises CheckpointError unless all of it fits."""
    from safetensors.torch import load_file

    spec = read_spec(path)
    tensors = load_file(path)
    if digest(tensors) != spec.sha256:
        raise CheckpointError(
            f"{path}: expected weights with sha256 {spec.sha256[:12]}, got {digest(tensors)[:12]}; "
            "the file was changed or damaged, get it again"
        )
    model = build(spec)
    load_strictly(model, tensors, str(path))
    return model, spec


def read_spec(path: Path | str) -> LifterSpec:
    """The spec of a weights file, without reading the weights."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise CheckpointError(f"{path}: expected a .safetensors file, found none")
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: expected a .safetensors file, but: {error}") from error
    if _SPEC not in metadata:
        raise CheckpointError(
            f"{path}: expected weights written by poselift, but they say nothing of their architecture; "
            "released checkpoints are converted by `poselift import-weights`"
        )
    try:
        return msgspec.json.decode(metadata[_SPEC], type=LifterSpec)
    except (msgspec.DecodeError, ConfigError) as error:
        raise CheckpointError(f"{path}: its spec is not one this version can read: {error}") from error


def load_strictly(model: "nn.Module", tensors: Mapping[str, "Tensor"], what: str) -> None:
    """Load a state dict; CheckpointError names the first keys that are missing, left over or misshapen."""
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    faults = [
        *(f"{name} {shape} is missing" for name, shape in wanted.items() if name not in given),
        *(f"{name} {shape} is left over" for name, shape in given.items() if name not in wanted),
        *(
            f"{name} should be {shape} and is {given[name]}"
            for name, shape in wanted.items()
            if name in given and given[name] != shape
        ),
    ]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(
            f"{what}: expected weights of {type(model).__name__}, got others: {'; '.join(faults[:3])}{more}"
        )
    model.load_state_dict(dict(tensors), strict=True)


def digest(tensors: Mapping[str, "Tensor"]) -> str:
    """SHA-256 of names and values, the same on every machine and in every order."""
    import torch

    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
