"""Random weights that depend on the names and shapes of a state dict and a seed alone."""

import math
import zlib

import torch
from torch import Tensor


def regenerate(keys: dict[str, tuple[int, ...]], seed: int = 1) -> dict[str, Tensor]:
    """A state dict in which every parameter matters: gains perturbed, matrices scaled by fan-in."""
    counters = {key for key in keys if key.endswith("num_batches_tracked")}
    return {
        key: torch.zeros((), dtype=torch.int64) if key in counters else draw(key, tuple(shape), seed)
        for key, shape in keys.items()
    }


def draw(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed * 1000003 + zlib.crc32(key.encode())) & 0x7FFFFFFF)
    noise = torch.randn(shape, generator=generator, dtype=torch.float32)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return noise.abs() * 0.5 + 0.5
    if leaf.startswith("layer_scale"):
        return 0.5 + 0.1 * noise
    if leaf == "a_2" or (leaf == "weight" and len(shape) == 1):
        return 1.0 + 0.2 * noise
    if leaf in ("bias", "b_2", "running_mean"):
        return 0.1 * noise
    if leaf == "A_hat":  # an adjacency must stay positive
        return torch.eye(shape[0]) + 0.1 * noise.abs()
    if leaf == "weight" and len(shape) == 4 and shape[:2] == (3, 1):  # Chebyshev graph convolution
        return 0.4 * noise / math.sqrt(shape[2])
    if "embed" in leaf or "token" in leaf:
        return 0.2 * noise
    return noise / math.sqrt(math.prod(shape[1:])) if len(shape) >= 2 else 0.02 * noise
