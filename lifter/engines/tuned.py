"""Which engine is the fastest for these weights on this machine, as `poselift bench --tune` found it.

One small file per answer in this user's cache. Its name is a digest of all it hangs on: weights, schedule,
number format, threads, processor or GPU, versions of the libraries and of this code. When one of
them changes the answer is no longer found, and `auto` goes by rule.
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

_LIFTER = Path(__file__).parents[1]  # all of its code decides what a network computes


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """The engine chosen, and milliseconds per window of all that were tried."""

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
    """Where the answer for a network (`network_key`) on this machine is kept."""
    here = (key, machine(str(device)), str(dtype), threads)
    return cache_dir() / "engines" / f"{hashlib.sha256(msgspec.json.encode(here)).hexdigest()[:24]}.json"


def remember(path: Path, tuned: Tuned) -> None:
    """Keep an answer for `recall`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            temporary.write_bytes(msgspec.json.encode(tuned))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error}); set POSELIFT_CACHE") from error


def recall(path: Path) -> Tuned | None:
    """The answer kept, or None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tuned)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s: cannot be read (%s); run poselift bench --tune again", path, error)
        return None


def choose(key: str, device: torch.device, dtype: torch.dtype, threads: int) -> str:
    """The engine remembered for a network (`network_key`), else the best by rule."""
    tuned = recall(tuned_path(key, device, dtype, threads))
    if tuned is not None and tuned.engine in engines.ENGINES:
        return tuned.engine
    return by_rule(device, dtype)


def by_rule(device: torch.device, dtype: torch.dtype) -> str:
    """CUDA graphs on a GPU; oneDNN's products on x86 processors, where they were measured; else eager."""
    if device.type == "cuda":
        return "graphs"
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return "onednn" if x86 and not engines.missing("onednn", device.type, dtype) else "eager"
