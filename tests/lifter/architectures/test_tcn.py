"""The baseline network, a temporal convolutional network."""

from pathlib import Path

import msgspec
import pytest
import torch
import yaml

from lifter.architectures.tcn import TCN
from lifter.spec import LifterSpec, Schedule
from lifter.training import recipe, train
from lifter.weights import build
from stream.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs" / "train"


def spec(**config):
    return LifterSpec(name="x", arch="tcn", frames=81, config={"width": 8} | config)


def test_the_receptive_field_is_27_frames():
    torch.manual_seed(0)
    model = build(spec(depth=2))
    x = torch.randn(1, 81, 17, 2)
    other = x.clone()
    other[:, 40] += 1.0
    changed = (model(x) != model(other)).flatten(2).any(dim=2)[0]
    assert changed.nonzero().flatten().tolist() == list(range(40 - 13, 40 + 14))  # 27 frames


def test_short_windows_need_no_padding():
    assert build(spec())(torch.zeros(2, 9, 17, 2)).shape == (2, 9, 17, 3)


def test_it_can_have_the_size_of_the_packaged_lifter():
    model = TCN(in_channels=3, width=156)
    assert sum(value.numel() for value in model.parameters()) == 424059


def test_a_schedule_raises():
    with pytest.raises(ConfigError, match="expected no schedule"):
        TCN(schedule=Schedule())


def test_a_dry_run_of_its_recipe_trains_and_evaluates(capsys: pytest.CaptureFixture[str]) -> None:
    train.train(CONFIGS / "tcn.yaml", dry_run=True)
    assert "mpjpe" in capsys.readouterr().out


def test_each_ablation_changes_one_part_of_the_recipe() -> None:
    rows = yaml.safe_load((CONFIGS / "ablations.yaml").read_text())["rows"]
    plans = {row: msgspec.to_builtins(recipe.load(f"{CONFIGS / 'ablations.yaml'}:{row}")) for row in rows}
    base = plans["as-small"]
    assert base["loss"] == msgspec.to_builtins(recipe.load(CONFIGS / "small.yaml"))["loss"]
    lost = {name: sorted(base["loss"].keys() - plan["loss"].keys()) for name, plan in plans.items()}
    others = {}
    for name, plan in plans.items():
        assert plan["lifter"].pop("name") == f"ablations-{name}"
        assert [(stage["steps"], stage["batch"]) for stage in plan["stages"]] == [(400, 32)]
        assert plan["loss"].items() <= base["loss"].items()
        others[name] = {key for key in plan if key != "loss" and plan[key] != base[key]}
    assert {name: terms for name, terms in lost.items() if terms} == {
        "no-newest": ["newest"],
        "no-smoothness": ["smoothness"],
        "no-velocity": ["velocity"],
        "no-limb-symmetry": ["limb_symmetry"],
        "places-only": ["limb_symmetry", "newest", "smoothness", "velocity"],
    }
    assert {name: parts for name, parts in others.items() if parts} == {
        "not-symmetric": {"symmetric"},
        "no-nearness": {"lifter"},
        "adamw": {"optimiser"},
        "unpruned": {"lifter", "stages"},
        "tcn": {"symmetric", "lifter", "optimiser"},
    }
