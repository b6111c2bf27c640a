"""A widened network starts as the one it came from."""

import pytest
import torch

from lifter.mixste import MixSTE
from lifter.training.widen import widened
from stream.errors import CheckpointError


def _mixste(width: int, heads: int) -> MixSTE:
    torch.manual_seed(width)
    return MixSTE(frames=9, width=width, depth=2, heads=heads).eval()


def test_a_widened_network_answers_alike_and_can_learn_apart() -> None:
    narrow, wide = _mixste(16, 2), _mixste(32, 4)
    wide.load_state_dict(widened(narrow.state_dict(), wide, torch.Generator().manual_seed(0)))
    x = torch.randn(2, 9, 17, 2)
    torch.testing.assert_close(wide(x), narrow(x), atol=1e-5, rtol=1e-5)
    wide(x).square().sum().backward()
    gradient = wide.STEblocks[0].mlp.fc1.weight.grad
    assert gradient is not None
    assert not torch.allclose(gradient[:32], gradient[32:])


def test_a_network_of_another_shape_is_refused() -> None:
    with pytest.raises(CheckpointError, match="half the width of"):
        widened(_mixste(16, 2).state_dict(), _mixste(48, 4), torch.Generator())
