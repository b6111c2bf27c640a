"""Left-right equivariant weights: a mirrored input gives exactly the mirrored pose, at no run-time cost.

Channels come in pairs: the second half of every token does for the left side what the first half does for the
right side. Mirroring a window then exchanges left and right joints and both halves of all channels, and
negates x. A network whose weights do not change under this exchange treats both sides alike. The gradients
are symmetrised in the same way, so training keeps the symmetry, and every window trains its mirror image,
too.
"""

import torch
from torch import Tensor, nn

from lifter.architectures.mixste import MixSTE
from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.skeletons import skeleton_named


class LeftRightSymmetry:
    """The exchange of left and right in the weights of a MixSTE. Raises ConfigError for other models."""

    def __init__(self, spec: LifterSpec, model: nn.Module) -> None:
        if not isinstance(model, MixSTE) or model.STEblocks[0].attn.heads % 2:
            raise ConfigError("symmetric: expected a mixste with an even number of heads")
        self.mirrored_joints = list(range(spec.joints))
        for left, right in skeleton_named(spec.skeleton).flip_pairs:
            self.mirrored_joints[left], self.mirrored_joints[right] = right, left

    def mirrored(self, name: str, value: Tensor) -> Tensor:
        """The parameter `name` of the network that gives the mirrored pose for the mirrored input."""
        if name == "head.1.weight":
            return _x_negated(_halves_exchanged(value, 1), 0)
        if name == "head.1.bias":
            return _x_negated(value, 0)
        if name == "Spatial_patch_to_embedding.weight":
            return _x_negated(_halves_exchanged(value, 0), 1)
        if name == "Spatial_pos_embed":
            return _halves_exchanged(value[:, self.mirrored_joints], -1)
        if value.ndim == 2:
            value = _halves_exchanged(value, 1)
        if value.ndim > 2:
            return _halves_exchanged(value, -1)
        parts = 3 if ".qkv." in name else 1  # queries, keys and values have two halves each
        return torch.cat([_halves_exchanged(part, 0) for part in value.chunk(parts)])

    @torch.no_grad()
    def symmetrise(self, model: nn.Module) -> None:
        """Make freshly initialised weights symmetric; matrices keep their variance."""
        for name, value in model.named_parameters():
            share = 0.5 if value.ndim != 2 or name.startswith("head") else 0.5**0.5
            value.copy_(share * (value + self.mirrored(name, value)))

    @torch.no_grad()
    def symmetrise_gradients(self, model: nn.Module) -> None:
        """Replace the gradients by those of the batch together with its mirror image."""
        for name, value in model.named_parameters():
            if value.grad is not None:
                value.grad.add_(self.mirrored(name, value.grad)).mul_(0.5)


def _halves_exchanged(value: Tensor, dim: int) -> Tensor:
    """The two halves of a dimension exchanged."""
    return value.roll(value.shape[dim] // 2, dims=dim)


def _x_negated(value: Tensor, dim: int) -> Tensor:
    """The first coordinate of a dimension negated."""
    shape = [1] * value.ndim
    shape[dim] = -1
    sign = torch.ones(value.shape[dim], dtype=value.dtype, device=value.device)
    sign[0] = -1
    return value * sign.view(shape)
