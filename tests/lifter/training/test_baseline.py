"""The network that lifters are compared with."""

from pathlib import Path

import pytest
import torch
import yaml
from msgspec.structs import replace

from lifter.spec import LifterSpec, Schedule
from lifter.training import recipe, train
from lifter.training.baseline import TCN
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


def test_ablations_differ_in_their_losses_alone() -> None:
    rows = yaml.safe_load((CONFIGS / "ablations.yaml").read_text())["rows"]
    plans = {row: recipe.load(f"{CONFIGS / 'ablations.yaml'}:{row}") for row in rows}
    whole = plans["all-losses"]
    assert whole.lifter.frames == 27
    for row, plan in plans.items():
        assert plan.lifter.name == f"ablations-{row}"
        lifter = replace(plan.lifter, name=whole.lifter.name)
        assert replace(plan, lifter=lifter, loss=whole.loss) == whole
        assert plan.loss.items() <= whole.loss.items()
    assert {row: sorted(whole.loss.keys() - plan.loss.keys()) for row, plan in plans.items()} == {
        "all-losses": [],
        "no-newest": ["newest"],
        "no-smoothness": ["smoothness"],
        "no-velocity": ["velocity"],
        "no-symmetry": ["limb_symmetry"],
        "places-only": ["limb_symmetry", "newest", "smoothness", "velocity"],
    }
