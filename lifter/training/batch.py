"""What one training step gets."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """inputs (B, F, J, C) and targets (B, F, J, 3) float32, both in the network's axes and units.

    part: which stage of the recipe it was made for; first: where its frames start in the model's window.
    """

    inputs: Tensor
    targets: Tensor
    part: int = 0
    first: int = 0

    def to(self, device: torch.device) -> "Batch":
        return replace(
            self,
            inputs=self.inputs.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
        )


def seeded(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """Random numbers of one step of one process: the same ones whenever and wherever that step is made."""
    # Below 2**32: torch's generator on the CPU reads no more of a seed.
    return torch.Generator().manual_seed((seed * 1_000_003 + step + rank * 400_000_009) % 2**32 + 1)
