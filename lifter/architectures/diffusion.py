"""What the diffusion lifters share: noise schedules, the reverse chain (DDIM), and time.

alpha-bar of a noise level is the share of the signal's power that is left there. A noisy sample is
sqrt(alpha-bar) * clean + sqrt(1 - alpha-bar) * noise; the chain walks from a high level down to the
clean sample (level -1, alpha-bar 1) in few steps, with the network guessing clean or noise at each.
Schedules are always computed on the CPU: they become plain numbers, also of models built without memory.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stream.errors import ConfigError


def cosine_betas(levels: int) -> Tensor:
    """Noise added from level to level (levels,) float64, so that alpha-bar falls like a squared cosine."""
    offset = 0.008
    time = torch.arange(levels + 1, dtype=torch.float64, device="cpu") / levels
    left = torch.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2
    left = left / left[0]
    return (1 - left[1:] / left[:-1]).clamp(0, 0.999)


def linear_betas(first: float, last: float, levels: int) -> Tensor:
    """Noise added from level to level (levels,) float64, rising evenly."""
    return torch.linspace(first, last, levels, dtype=torch.float64, device="cpu")


class Step(NamedTuple):
    """One step of the reverse chain as plain numbers, so that it can be compiled and exported."""

    level: int  # what the network is told
    signal: float  # sqrt(alpha-bar) at this level
    noise: float  # sqrt(1 - alpha-bar) at this level
    next_signal: float  # sqrt(alpha-bar) at the next level
    next_guessed: float  # weight of the guessed noise at the next level
    next_fresh: float  # weight of fresh noise at the next level

    def clean_from_noise(self, sample: Tensor, noise: Tensor) -> Tensor:
        """The clean sample if `noise` is what was added."""
        return (sample - self.noise * noise) / self.signal

    def noise_from_clean(self, sample: Tensor, clean: Tensor) -> Tensor:
        """The noise that was added if `clean` is the clean sample."""
        return (sample - self.signal * clean) / self.noise

    def advance(self, clean: Tensor, noise: Tensor, fresh: Tensor | None) -> Tensor:
        """The sample at the next level; `fresh` is standard normal, and not read where its weight is 0."""
        sample = self.next_signal * clean + self.next_guessed * noise
        if self.next_fresh == 0:
            return sample
        if fresh is None:
            raise ConfigError(f"noise: the step from level {self.level} needs a fresh sample, got None")
        return sample + self.next_fresh * fresh


def reverse_chain(betas: Tensor, levels: Sequence[int], eta: float) -> tuple[Step, ...]:
    """Steps through falling `levels` down to the clean sample; eta 0 is deterministic, 1 most random."""
    left = [*torch.cumprod(1 - betas, 0).tolist(), 1.0]  # [-1] is the clean sample
    steps = []
    for level, following in zip(levels, [*levels[1:], -1], strict=True):
        now, then = left[level], left[following]
        fresh = eta * math.sqrt((1 - now / then) * (1 - then) / (1 - now))
        guessed = math.sqrt(max(0.0, 1 - then - fresh**2))
        steps.append(Step(level, math.sqrt(now), math.sqrt(1 - now), math.sqrt(then), guessed, fresh))
    return tuple(steps)


def sinusoid(level: Tensor, width: int) -> Tensor:
    """Sines, then cosines, (N, width) float32 of noise levels (N,), at falling frequencies."""
    half = width // 2
    frequency = torch.exp(torch.arange(half, device=level.device) * (-math.log(10000) / (half - 1)))
    angle = level.float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def standard_normal(*shape: int, seed: int) -> Tensor:
    """The same standard normal values float32 on every machine."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")
