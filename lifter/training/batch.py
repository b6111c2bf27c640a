"""A batch of training windows, and the random numbers of a training step."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """inputs (B, F, J, C) and targets (B, F, J, 3) float32, both in the network's axes and units.

    stage: index of the recipe's stage; first_frame: place of the windows in the model's longer window.
    successive: windows per motion, each a frame later than the window before; the B windows are those of all
    motions at the first time, then at the second time, and so on. newest_reflection (B, 1, 3): turns the
    newest poses of successive windows back to camera axes (`lifter.normalise.NormalisationContext`).
    """

    inputs: Tensor
    targets: Tensor
    stage: int = 0
    first_frame: int = 0
    successive: int = 1
    newest_reflection: Tensor | None = None

    def to(self, device: torch.device) -> "TrainingBatch":
        return replace(
            self,
            inputs=self.inputs.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            newest_reflection=None
            if self.newest_reflection is None
            else self.newest_reflection.to(device, non_blocking=True),
        )


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """A seed for one step of one process, the same whenever the step is repeated."""
    return seed * 1_000_003 + step + rank * 400_000_009


def step_generator(
    seed: int, step: int, rank: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Random numbers of one step of one process, the same whenever the step is repeated on the device."""
    # Below 2**32: torch's CPU generator ignores higher bits of a seed.
    return torch.Generator(device).manual_seed(step_seed(seed, step, rank) % 2**32 + 1)
