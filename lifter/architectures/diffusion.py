"""What D3DP and DiffPose share: noise schedules, the reverse chain (DDIM), noise and its levels.

alpha-bar is the share of the signal's power that is left at a noise level. A noisy sample is
sqrt(alpha-bar) * clean + sqrt(1 - alpha-bar) * noise. The reverse chain goes from a high level to the
clean sample (level -1, alpha-bar 1) in few steps; at each the network estimates the clean sample or
the noise. Noise schedules are computed on the CPU, because the chain needs them as plain numbers even
for models built on the meta device.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lifter.spec import Schedule
from stream.errors import ConfigError, ShapeError


def cosine_betas(levels: int) -> Tensor:
    """Noise added per level (levels,) float64, so that alpha-bar falls like a squared cosine."""
    offset = 0.008
    time = torch.arange(levels + 1, dtype=torch.float64, device="cpu") / levels
    alpha_bar = torch.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2
    alpha_bar = alpha_bar / alpha_bar[0]
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(0, 0.999)


def linear_betas(first: float, last: float, levels: int) -> Tensor:
    """Noise added per level (levels,) float64, rising linearly."""
    return torch.linspace(first, last, levels, dtype=torch.float64, device="cpu")


class ReverseStep(NamedTuple):
    """One step of the reverse chain, in plain numbers so that it can be compiled and exported."""

    level: int  # input of the network
    signal: float  # sqrt(alpha-bar) at this level
    noise: float  # sqrt(1 - alpha-bar) at this level
    next_signal: float  # sqrt(alpha-bar) at the next level
    next_estimated: float  # weight of the estimated noise at the next level
    next_fresh: float  # weight of fresh noise at the next level

    def clean_from_noise(self, sample: Tensor, noise: Tensor) -> Tensor:
        """The clean sample, given the noise in `sample`."""
        return (sample - self.noise * noise) / self.signal

    def noise_from_clean(self, sample: Tensor, clean: Tensor) -> Tensor:
        """The noise in `sample`, given the clean sample."""
        return (sample - self.signal * clean) / self.noise

    def advance(self, clean: Tensor, noise: Tensor, fresh: Tensor | None) -> Tensor:
        """The sample at the next level.

        fresh: standard normal, not read where its weight is 0; ConfigError if it is None elsewhere.
        """
        sample = self.next_signal * clean + self.next_estimated * noise
        if self.next_fresh == 0:
            return sample
        if fresh is None:
            raise ConfigError(f"noise: the step from level {self.level} needs a fresh sample, got None")
        return sample + self.next_fresh * fresh


def reverse_chain(betas: Tensor, levels: Sequence[int], eta: float) -> tuple[ReverseStep, ...]:
    """Steps through falling `levels` down to the clean sample; eta 0 adds no fresh noise, 1 the most."""
    alpha_bars = [*torch.cumprod(1 - betas, 0).tolist(), 1.0]  # [-1] is the clean sample
    steps = []
    for level, next_level in zip(levels, [*levels[1:], -1], strict=True):
        this, after = alpha_bars[level], alpha_bars[next_level]
        fresh = eta * math.sqrt((1 - this / after) * (1 - after) / (1 - this))
        estimated = math.sqrt(max(0.0, 1 - after - fresh**2))
        steps.append(
            ReverseStep(level, math.sqrt(this), math.sqrt(1 - this), math.sqrt(after), estimated, fresh)
        )
    return tuple(steps)


def add_noise(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """The noisy sample at alpha-bar, whose shape broadcasts against clean and noise."""
    return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise


def sinusoid(level: Tensor, width: int) -> Tensor:
    """Sines, then cosines, (N, width) float32 of noise levels (N,), at falling frequencies."""
    half = width // 2
    frequency = torch.exp(torch.arange(half, device=level.device) * (-math.log(10000) / (half - 1)))
    angle = level.float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def standard_normal(*shape: int, seed: int) -> Tensor:
    """Standard normal values float32 that depend on the seed alone, not on the machine."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")


def random_like(values: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal values like `values`, drawn on the generator's device, None for that of the values."""
    device = values.device if generator is None else generator.device
    return torch.randn(values.shape, generator=generator, device=device).to(values)


def random_levels(
    number: int, levels: int, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Noise levels (number,) int64 on `device`, each from 0 to levels - 1; drawn as in `random_like`."""
    source = device if generator is None else generator.device
    return torch.randint(levels, (number,), generator=generator, device=source).to(device)


def check_recovers_all(arch: str, schedule: Schedule | None) -> None:
    """Raise ConfigError if the schedule returns poses of some frames only; a diffusion chain needs all."""
    if schedule is not None and schedule.recoverer not in ("tri", "tri-tokens", "tra"):
        raise ConfigError(
            f"schedule.recoverer: {arch} refines all frames, expected 'tri' or 'tra', "
            f"got {schedule.recoverer!r}"
        )


def check_sample_with_level(arch: str, noisy: Tensor | None, level: Tensor | None) -> None:
    """Raise ShapeError unless a noisy sample and its level are both present or both None."""
    if (noisy is None) != (level is None):
        raise ShapeError(f"{arch}: expected a noisy sample and its level together, got only one of them")
