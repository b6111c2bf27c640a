"""Weights on disk: a safetensors file whose metadata holds the lifter's spec. Loading is strict.

Torch is imported inside the functions that need tensors, so that specs can be listed without it.
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

    from lifter.layers import LiftingNetwork

# Built as `Arch(frames=, joints=, in_channels=, schedule=, **spec.config)`.
ARCHS = {
    "mixste": "lifter.architectures.mixste:MixSTE",
    "mhformer": "lifter.architectures.mhformer:MHFormer",
    "motionbert": "lifter.architectures.motionbert:MotionBERT",
    "motionagformer": "lifter.architectures.motionagformer:MotionAGFormer",
    "d3dp": "lifter.architectures.d3dp:D3DP",
    "diffpose": "lifter.architectures.diffpose:DiffPose",
}
# Networks that reports compare lifters with; the live system does not offer them.
BASELINES = {"tcn": "lifter.architectures.tcn:TCN"}
_SPEC_KEY = "poselift.spec"  # in the metadata


def build(spec: LifterSpec) -> "LiftingNetwork":
    """The architecture that a spec describes, with fresh weights, in inference mode.

    Raises ConfigError for an unknown architecture or arguments that it does not accept.
    """
    if spec.arch not in ARCHS | BASELINES:
        raise ConfigError(f"lifter.arch: expected one of {', '.join(ARCHS)}, got {spec.arch!r}")
    with as_config_error(f"lifter.config: {spec.arch}", spec.config):
        model: LiftingNetwork = import_object((ARCHS | BASELINES)[spec.arch])(
            frames=spec.frames,
            joints=spec.joints,
            in_channels=spec.in_channels,
            schedule=spec.schedule,
            **spec.config,
        )
    return model.eval()


@contextmanager
def as_config_error(name: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Turn any failure to build a network from `settings` into a ConfigError that names them."""
    try:
        yield
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ConfigError(f"{name} does not accept {dict(settings)}: {error}") from error


def import_object(path: str) -> Any:
    """The object that "package.module:name" names."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def save(path: Path | str, model: "nn.Module", spec: LifterSpec, dtype: "dtype | None" = None) -> LifterSpec:
    """Write weights and spec; returns the spec as written, with its sha256.

    dtype: of floating-point weights in the file (torch.float16 halves it); None for that of the model.
    Raises ConfigError if the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save as to_bytes

    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if dtype is not None:
        tensors = {name: v.to(dtype) if v.is_floating_point() else v for name, v in tensors.items()}
    spec = msgspec.structs.replace(spec, sha256=digest(tensors))
    try:
        with write_atomically(Path(path)) as temporary:
            # Not save_file: its files can be read by their owner alone.
            temporary.write_bytes(to_bytes(tensors, {_SPEC_KEY: msgspec.json.encode(spec).decode()}))
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: the weights cannot be written: {error}") from error
    return spec


def load(path: Path | str) -> tuple["LiftingNetwork", LifterSpec]:
    """The model and spec of a file written by `save`.

    Raises CheckpointError unless the digest and every key and shape match.
    """
    from safetensors.torch import load_file

    spec = read_spec(path)
    tensors = load_file(path)
    if digest(tensors) != spec.sha256:
        raise CheckpointError(
            f"{path}: expected weights with sha256 {spec.sha256[:12]}, got {digest(tensors)[:12]}; "
            "the file was changed or damaged, download it again"
        )
    model = build(spec)
    load_strictly(model, tensors, str(path))
    return model, spec


def read_spec(path: Path | str) -> LifterSpec:
    """The spec of a weights file, without reading the weights. Raises CheckpointError if it has none."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise CheckpointError(f"{path}: expected a .safetensors file, got none")
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: expected a .safetensors file, got: {error}") from error
    if _SPEC_KEY not in metadata:
        raise CheckpointError(
            f"{path}: expected weights written by poselift, got a file without an architecture; "
            "released checkpoints are converted by `poselift import-weights`"
        )
    try:
        return msgspec.json.decode(metadata[_SPEC_KEY], type=LifterSpec)
    except (msgspec.DecodeError, ConfigError) as error:
        raise CheckpointError(f"{path}: this version cannot read its spec: {error}") from error


def load_strictly(model: "nn.Module", tensors: Mapping[str, "Tensor"], source: str) -> None:
    """Load a state dict into a model.

    source: name of the weights in errors. Raises CheckpointError, which names the first keys that are
    missing, unexpected or of another shape.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    faults = [
        *(f"{name} {shape} is missing" for name, shape in expected.items() if name not in shapes),
        *(f"{name} {shape} is unexpected" for name, shape in shapes.items() if name not in expected),
        *(
            f"{name} should be {shape} and is {shapes[name]}"
            for name, shape in expected.items()
            if name in shapes and shapes[name] != shape
        ),
    ]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(
            f"{source}: expected weights of {type(model).__name__}, got others: {'; '.join(faults[:3])}{more}"
        )
    model.load_state_dict(dict(tensors), strict=True)


def digest(tensors: Mapping[str, "Tensor"]) -> str:
    """SHA-256 (hex) of names and values, independent of machine and order."""
    import torch

    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
