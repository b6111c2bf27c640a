"""Symmetric weights: a mirrored window gives the mirrored pose, before and after training."""

import pytest
import torch

from lifter.architectures.mixste import MixSTE
from lifter.h2ot.pipelines import FlipAverage
from lifter.spec import LifterSpec, Schedule
from lifter.training.symmetry import LeftRightSymmetry
from lifter.training.widen import widen
from stream.errors import CheckpointError, ConfigError

SPEC = LifterSpec(name="small", frames=9, in_channels=4, normalise="person")


def _mixste(width: int, heads: int, channels: int = 4) -> MixSTE:
    torch.manual_seed(width)
    schedule = Schedule(keep=(5, 3), at=(0, 1))
    model = MixSTE(9, in_channels=channels, width=width, depth=2, heads=heads, schedule=schedule)
    torch.nn.init.normal_(model.Spatial_pos_embed, std=0.1)
    torch.nn.init.normal_(model.Temporal_pos_embed, std=0.1)
    return model.eval()


def _mirrored(x: torch.Tensor) -> torch.Tensor:
    mirrored = x[:, :, LeftRightSymmetry(SPEC, _mixste(16, 2)).mirrored_joints].clone()
    mirrored[..., 0] *= -1
    return mirrored


def _mirror_gap(model: MixSTE) -> float:
    x = torch.randn(2, 9, 17, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return float((_mirrored(model(_mirrored(x))) - model(x)).abs().max())


def test_training_keeps_weights_symmetric() -> None:
    model = _mixste(16, 2)
    symmetry = LeftRightSymmetry(SPEC, model)
    assert _mirror_gap(model) > 0.01
    symmetry.symmetrise(model)
    assert _mirror_gap(model) < 1e-6
    before = model.head[1].weight.clone()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        (model(torch.randn(2, 9, 17, 4)) - torch.randn(2, 9, 17, 3)).square().mean().backward()
        symmetry.symmetrise_gradients(model)
        optimiser.step()
    assert _mirror_gap(model) < 1e-5
    assert not torch.allclose(before, model.head[1].weight)


def test_symmetrised_weights_keep_their_variance() -> None:
    model = _mixste(64, 2)
    before = model.STEblocks[0].mlp.fc1.weight.std()
    LeftRightSymmetry(SPEC, model).symmetrise(model)
    torch.testing.assert_close(model.STEblocks[0].mlp.fc1.weight.std(), before, rtol=0.05, atol=0.0)


def test_a_widened_network_is_symmetric_and_similar_to_the_flip_average() -> None:
    narrow, wide = _mixste(32, 2, channels=3), _mixste(64, 4)
    wide.load_state_dict(widen(narrow.state_dict(), wide, LeftRightSymmetry(SPEC, wide)), strict=False)
    assert _mirror_gap(wide) < 1e-6
    x = torch.randn(2, 9, 17, 4)
    with torch.no_grad():
        expected, poses = FlipAverage(narrow, "h36m17")(x[..., :3]), wide(x)
        alone = narrow(x[..., :3])
    assert (poses - expected).norm() < 0.5 * (alone - expected).norm()


def test_an_odd_number_of_heads_and_a_wrong_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="even number of heads"):
        LeftRightSymmetry(SPEC, _mixste(15, 3))
    wide = _mixste(48, 4)
    with pytest.raises(CheckpointError, match="half the width of"):
        widen(_mixste(16, 2).state_dict(), wide, LeftRightSymmetry(SPEC, wide))
