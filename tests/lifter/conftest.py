"""Reference outputs of small random weights, which are regenerated from their names and shapes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.lifter.recipe import regenerate


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], dict[str, Any]]:
    """Loads one reference by name, with the weights that produced it under "state_dict"."""

    def load(name: str) -> dict[str, Any]:
        path = Path(__file__).parent / "oracle" / f"{name}.pt"
        reference = torch.load(path, weights_only=True)
        reference["state_dict"] = regenerate(reference["keys"], seed=1)
        return reference

    return load


@pytest.fixture(scope="session")
def fixed_pruner() -> Callable[[Tensor], nn.Module]:
    """Builds a pruner with a fixed result (B, keep), so that a model is tested without its selection."""

    class Fixed(nn.Module):
        def __init__(self, index: Tensor) -> None:
            super().__init__()
            self.index = index

        def forward(self, state: Any) -> Tensor:
            return self.index

    return Fixed
