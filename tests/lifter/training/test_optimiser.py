"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from lifter.training.optimiser import AveragedWeights


def test_the_average_forgets_the_first_steps_and_then_decays_slowly():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average = AveragedWeights(model, decay=0.99)
    nn.init.constant_(model.weight, 1.0)
    average.update(model, step=0)  # keeps a tenth of the old value
    assert average.state["weight"].item() == pytest.approx(0.9)
    nn.init.constant_(model.weight, 0.0)
    average.update(model, step=100_000)  # keeps 99 %
    assert average.state["weight"].item() == pytest.approx(0.99 * 0.9)


def test_counters_are_copied():
    model = nn.BatchNorm1d(2)
    average = AveragedWeights(model, decay=0.5)
    model(torch.zeros(3, 2))
    average.update(model, step=0)
    assert average.state["num_batches_tracked"].item() == 1
