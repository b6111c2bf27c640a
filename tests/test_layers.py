"""Every module has its place among the layers that `lint-imports` checks."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("package", ["stream", "lifter"])
def test_every_module_is_bound_by_the_layers(package: str):
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer for contract in contracts for layer in contract.get("layers", ())]
    bound = re.findall(rf"{package}\.(\w+)", " ".join(layers))
    there = {
        path.stem
        for path in (ROOT / package).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    } - {"__init__"}
    assert sorted(bound) == sorted(there)
