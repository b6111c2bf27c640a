"""The network that lifters are compared with."""

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


def test_a_frame_answers_to_those_near_it_in_time():
    torch.manual_seed(0)
    model = build(spec(depth=2))
    x = torch.randn(1, 81, 17, 2)
    other = x.clone()
    other[:, 40] += 1.0
    changed = (model(x) != model(other)).flatten(2).any(dim=2)[0]
    assert changed.nonzero().flatten().tolist() == list(range(40 - 13, 40 + 14))  # 27 frames


def test_a_short_window_is_taken_as_it_is():
    assert build(spec())(torch.zeros(2, 9, 17, 2)).shape == (2, 9, 17, 3)


def test_its_size_is_that_of_the_packaged_lifter():
    model = TCN(in_channels=3, width=156)
    assert sum(value.numel() for value in model.parameters()) == 424059


def test_it_cannot_prune():
    with pytest.raises(ConfigError, match="expected no schedule"):
        TCN(schedule=Schedule())


def test_it_starts_steps_and_evaluates_by_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    train.train(CONFIGS / "tcn.yaml", dry_run=True)
    assert "mpjpe" in capsys.readouterr().out


def test_ablations_differ_in_one_thing_each() -> None:
    rows = yaml.safe_load((CONFIGS / "ablations.yaml").read_text())["rows"]
    plans = {row: msgspec.to_builtins(recipe.load(f"{CONFIGS / 'ablations.yaml'}:{row}")) for row in rows}
    whole = plans["as-small"]
    assert whole["loss"] == msgspec.to_builtins(recipe.load(CONFIGS / "small.yaml"))["loss"]
    lost = {name: sorted(whole["loss"].keys() - plan["loss"].keys()) for name, plan in plans.items()}
    others = {}
    for name, plan in plans.items():
        assert plan["lifter"].pop("name") == f"ablations-{name}"
        assert [(stage["steps"], stage["batch"]) for stage in plan["stages"]] == [(400, 32)]
        assert plan["loss"].items() <= whole["loss"].items()
        others[name] = {key for key in plan if key != "loss" and plan[key] != whole[key]}
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
