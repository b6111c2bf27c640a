"""The fastest engine for given weights on this machine, as `poselift bench --tune` measures it.

Each result is a small file in this user's cache. Its name is a digest of everything it depends on:
weights, schedule, number format, threads, processor or GPU, versions of the libraries and of this code.
When one of them changes, no file matches and `default_engine` decides.
"""

import hashlib
import logging
import platform
from pathlib import Path

import msgspec
import torch
from torch import nn

from lifter.engines import choose as engines
from lifter.machine import machine
from lifter.spec import LifterSpec
from lifter.weights import digest
from stream.errors import ConfigError
from stream.files.cache import cache_dir, write_atomically

log = logging.getLogger("poselift")

_LIFTER = Path(__file__).parents[1]  # all code of this package may change what a network computes


class TuneResult(msgspec.Struct, frozen=True, kw_only=True):
    """The fastest engine, and milliseconds per window of every engine measured."""

    engine: str
    ms: dict[str, float]


def network_key(model: nn.Module, spec: LifterSpec) -> str:
    """Digest of what a network computes: weights, architecture, schedule, and the code."""
    sha = hashlib.sha256(msgspec.json.encode(spec))
    sha.update(digest(model.state_dict()).encode())
    for path in sorted(_LIFTER.rglob("*.py")):
        sha.update(path.read_bytes())
    sha.update(torch.__version__.encode())
    return sha.hexdigest()


def tuned_path(key: str, device: torch.device, dtype: torch.dtype, threads: int) -> Path:
    """File of the result for a network (`network_key`) on this machine."""
    dependencies = (key, machine(str(device)), str(dtype), threads)
    return (
        cache_dir() / "engines" / f"{hashlib.sha256(msgspec.json.encode(dependencies)).hexdigest()[:24]}.json"
    )


def save_result(path: Path, result: TuneResult) -> None:
    """Write a result for `load_result`. Raises ConfigError if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            temporary.write_bytes(msgspec.json.encode(result))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error}); set POSELIFT_CACHE") from error


def load_result(path: Path) -> TuneResult | None:
    """The result in a file, or None if the file is missing or unreadable (then with a warning)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=TuneResult)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # also text that is no UTF-8
        log.warning("%s: cannot be read (%s); run poselift bench --tune again", path, error)
        return None


def fastest_engine(key: str, device: torch.device, dtype: torch.dtype, threads: int) -> str:
    """The engine measured fastest for a network (`network_key`), or `default_engine` if none is measured."""
    result = load_result(tuned_path(key, device, dtype, threads))
    if result is not None and result.engine in engines.ENGINES:
        return result.engine
    return default_engine(device, dtype)


def default_engine(device: torch.device, dtype: torch.dtype) -> str:
    """The engine to use without a measurement.

    CUDA graphs on a GPU; oneDNN on x86 processors, on which it was measured; else eager.
    """
    if device.type == "cuda":
        return "graphs"
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return "onednn" if x86 and not engines.why_unavailable("onednn", device.type, dtype) else "eager"
