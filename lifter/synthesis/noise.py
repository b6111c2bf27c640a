"""Random numbers for a batch of windows, and noise that is smooth in time."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class WindowRandom:
    """Random numbers for B windows, one value (or one array of `shape`) per window."""

    windows: int
    generator: torch.Generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform numbers (B, *shape) float32 from low to high."""
        return low + (high - low) * torch.rand(self.windows, *shape, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers (B, *shape) float32 of mean 0 and deviation 1."""
        return torch.randn(self.windows, *shape, generator=self.generator)

    def chance(self, probability: float) -> Tensor:
        """Bool (B,), True with this probability."""
        return torch.rand(self.windows, generator=self.generator) < probability

    def spans(self, share: Tensor, frames: int, joints: int, deviation: float) -> Tensor:
        """Bool (B, F, joints): True for a `share` (B,) of the time, in spans of about `deviation` frames."""
        slow = smooth_noise(self.normal(frames, joints), deviation)
        # A normal number is below this quantile with probability `share`.
        limit: Tensor = torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6))
        return slow < limit[:, None, None]


def smooth_noise(white: Tensor, deviation: float) -> Tensor:
    """White noise (B, F, ...) smoothed in time over `deviation` frames, with unit variance in every frame."""
    return torch.einsum("st,bt...->bs...", _kernel(white.shape[1], deviation, white.device), white)


@lru_cache(maxsize=64)
def _kernel(frames: int, deviation: float, device: torch.device) -> Tensor:
    """Gaussian weights (F, F), with rows of length 1."""
    time = torch.arange(frames, dtype=torch.float32, device=device)
    weights = torch.exp(-0.5 * ((time[:, None] - time) / deviation).square())
    kernel: Tensor = weights / torch.linalg.vector_norm(weights, dim=1, keepdim=True)
    return kernel
