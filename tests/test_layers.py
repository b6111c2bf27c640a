"""Every module belongs to a layer that `lint-imports` checks."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("package", ["stream", "lifter"])
def test_every_module_belongs_to_a_layer(package: str):
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer for contract in contracts for layer in contract.get("layers", ())]
    listed = re.findall(rf"{package}\.(\w+)", " ".join(layers))
    modules = {
        path.stem
        for path in (ROOT / package).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    } - {"__init__"}
    assert sorted(listed) == sorted(modules)
