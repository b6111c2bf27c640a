"""The network that lifters are compared with."""

import pytest
import torch

from lifter.spec import LifterSpec, Schedule
from lifter.training.baseline import TCN
from lifter.weights import build
from stream.errors import ConfigError


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
