"""Weights that answer to a mirrored person with the mirrored pose, exactly, and cost nothing when they run.

Channels come in pairs: the second half of every token does for the left what the first half does for the
right. Mirroring a window then exchanges left and right joints and the two halves of all channels, and
turns the sign of x. A network whose weights stay as they are under that exchange cannot tell the two
apart but by what it is shown. Gradients are made symmetric in the same way, so training keeps it so; every
window teaches its mirror image too.
"""

import torch
from torch import Tensor, nn

from lifter.architectures.mixste import MixSTE
from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.skeletons import skeleton_named


class Mirror:
    """The exchange of left and right in the weights of a MixSTE."""

    def __init__(self, spec: LifterSpec, model: nn.Module) -> None:
        if not isinstance(model, MixSTE) or model.STEblocks[0].attn.heads % 2:
            raise ConfigError("symmetric: expected a mixste with an even number of heads")
        self.joints = list(range(spec.joints))
        for left, right in skeleton_named(spec.skeleton).flip_pairs:
            self.joints[left], self.joints[right] = right, left

    def mirrored(self, name: str, value: Tensor) -> Tensor:
        """The parameter `name` of the network that sees everything mirrored."""
        if name == "head.1.weight":
            return _x_turned(_swapped(value, 1), 0)
        if name == "head.1.bias":
            return _x_turned(value, 0)
        if name == "Spatial_patch_to_embedding.weight":
            return _x_turned(_swapped(value, 0), 1)
        if name == "Spatial_pos_embed":
            return _swapped(value[:, self.joints], -1)
        if value.ndim == 2:
            value = _swapped(value, 1)
        if value.ndim > 2:
            return _swapped(value, -1)
        parts = 3 if ".qkv." in name else 1  # queries, keys and values have two halves each
        return torch.cat([_swapped(part, 0) for part in value.chunk(parts)])

    @torch.no_grad()
    def even_weights(self, model: nn.Module) -> None:
        """Make fresh weights symmetric; matrices keep their variance."""
        for name, value in model.named_parameters():
            share = 0.5 if value.ndim != 2 or name.startswith("head") else 0.5**0.5
            value.copy_(share * (value + self.mirrored(name, value)))

    @torch.no_grad()
    def even_gradients(self, model: nn.Module) -> None:
        """Make the gradients those of the batch together with its mirror image."""
        for name, value in model.named_parameters():
            if value.grad is not None:
                value.grad.add_(self.mirrored(name, value.grad)).mul_(0.5)


def _swapped(value: Tensor, dim: int) -> Tensor:
    """The two halves of a dimension exchanged."""
    return value.roll(value.shape[dim] // 2, dims=dim)


def _x_turned(value: Tensor, dim: int) -> Tensor:
    """The sign of the first coordinate turned."""
    shape = [1] * value.ndim
    shape[dim] = -1
    sign = torch.ones(value.shape[dim], dtype=value.dtype, device=value.device)
    sign[0] = -1
    return value * sign.view(shape)
