"""MixSTE against reference outputs, unpruned and pruned."""

import pytest
import torch

from lifter.architectures.mixste import MixSTE
from lifter.spec import Schedule
from stream.errors import ConfigError, ShapeError

SMALL = {"frames": 27, "width": 64, "depth": 8, "heads": 8}


def test_the_unpruned_model_matches_the_reference(oracle):
    reference = oracle("mixste_small")
    model = MixSTE(**SMALL).eval()
    model.load_state_dict(reference["state_dict"], strict=True)
    with torch.inference_mode():
        poses = model(reference["inputs"]["x"])
    torch.testing.assert_close(poses, reference["outputs"]["output"], atol=1e-5, rtol=0)
    torch.testing.assert_close(poses, reference["hot_copy_output"], atol=1e-5, rtol=0)  # HoT's copy of it


def test_state_dict_keys_equal_those_of_the_release(oracle):
    model = MixSTE(**SMALL, schedule=Schedule(keep=(13, 9), at=(0, 3)))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert shapes == {key: tuple(shape) for key, shape in oracle("mixste_small")["keys"].items()}


def test_a_window_of_another_shape_raises():
    with pytest.raises(ShapeError, match="27"):
        MixSTE(**SMALL)(torch.zeros(1, 26, 17, 2))


def test_a_schedule_that_does_not_fit_raises():
    with pytest.raises(ConfigError, match="at most 27 frames"):
        MixSTE(**SMALL, schedule=Schedule(keep=(28,), at=(0,)))
    with pytest.raises(ConfigError, match="below 8"):
        MixSTE(**SMALL, schedule=Schedule(keep=(9,), at=(8,)))
