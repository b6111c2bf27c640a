"""Symmetric weights: a mirrored window gives the mirrored pose, before and after training."""

import pytest
import torch

from lifter.architectures.mixste import MixSTE
from lifter.h2ot.pipelines import FlipAverage
from lifter.spec import LifterSpec, Schedule
from lifter.training.symmetry import Mirror
from lifter.training.widen import paired
from stream.errors import CheckpointError, ConfigError

SPEC = LifterSpec(name="small", frames=9, in_channels=4, normalise="person")


def _mixste(width: int, heads: int, channels: int = 4) -> MixSTE:
    torch.manual_seed(width)
    schedule = Schedule(keep=(5, 3), at=(0, 1))
    model = MixSTE(9, in_channels=channels, width=width, depth=2, heads=heads, schedule=schedule)
    torch.nn.init.normal_(model.Spatial_pos_embed, std=0.1)
    torch.nn.init.normal_(model.Temporal_pos_embed, std=0.1)
    return model.eval()


def _turned(x: torch.Tensor) -> torch.Tensor:
    turned = x[:, :, Mirror(SPEC, _mixste(16, 2)).joints].clone()
    turned[..., 0] *= -1
    return turned


def _gap(model: MixSTE) -> float:
    x = torch.randn(2, 9, 17, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return float((_turned(model(_turned(x))) - model(x)).abs().max())


def test_training_keeps_weights_symmetric() -> None:
    model = _mixste(16, 2)
    mirror = Mirror(SPEC, model)
    assert _gap(model) > 0.01
    mirror.even_weights(model)
    assert _gap(model) < 1e-6
    before = model.head[1].weight.clone()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        (model(torch.randn(2, 9, 17, 4)) - torch.randn(2, 9, 17, 3)).square().mean().backward()
        mirror.even_gradients(model)
        optimiser.step()
    assert _gap(model) < 1e-5
    assert not torch.allclose(before, model.head[1].weight)


def test_fresh_symmetric_weights_are_as_large_as_others() -> None:
    model = _mixste(64, 2)
    before = model.STEblocks[0].mlp.fc1.weight.std()
    Mirror(SPEC, model).even_weights(model)
    torch.testing.assert_close(model.STEblocks[0].mlp.fc1.weight.std(), before, rtol=0.05, atol=0.0)


def test_two_copies_are_symmetric_and_much_like_the_flip_average_of_one() -> None:
    narrow, wide = _mixste(32, 2, channels=3), _mixste(64, 4)
    wide.load_state_dict(paired(narrow.state_dict(), wide, Mirror(SPEC, wide)), strict=False)
    assert _gap(wide) < 1e-6
    x = torch.randn(2, 9, 17, 4)
    with torch.no_grad():
        wanted, got = FlipAverage(narrow, "h36m17")(x[..., :3]), wide(x)
        alone = narrow(x[..., :3])
    assert (got - wanted).norm() < 0.5 * (alone - wanted).norm()


def test_what_cannot_be_symmetric_or_doubled_is_refused() -> None:
    with pytest.raises(ConfigError, match="even number of heads"):
        Mirror(SPEC, _mixste(15, 3))
    wide = _mixste(48, 4)
    with pytest.raises(CheckpointError, match="half the width of"):
        paired(_mixste(16, 2).state_dict(), wide, Mirror(SPEC, wide))
