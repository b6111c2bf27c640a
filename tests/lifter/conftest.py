"""Reference outputs on small random weights, which are drawn again from their names and shapes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lifter.recipe import regenerate


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], dict[str, Any]]:
    """Loads one reference by name; its "state_dict" holds the weights it was made with."""

    def load(name: str) -> dict[str, Any]:
        path = Path(__file__).parent / "oracle" / f"{name}.pt"
        reference = torch.load(path, weights_only=True)
        reference["state_dict"] = regenerate(reference["keys"], seed=1)
        return reference

    return load
