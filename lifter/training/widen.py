"""Two copies of a network side by side in one of twice the width, to go on training from.

The second copy sees the mirror image and answers for it: together they answer as the average of the network
and its mirror image does, up to what layer norms make of two halves at once, and are symmetric.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lifter.training.symmetry import Mirror
from stream.errors import CheckpointError


@torch.no_grad()
def paired(narrow: Mapping[str, Tensor], wide: nn.Module, mirror: Mirror) -> dict[str, Tensor]:
    """The state dict for `wide` (twice the width and heads) from the state dict `narrow`.

    Inputs that the narrow network does not have are read with weight 0.
    """
    state = {}
    for name, target in wide.named_parameters():
        value = narrow[name]
        if name == "Spatial_patch_to_embedding.weight":
            value = nn.functional.pad(value, (0, max(0, target.shape[1] - value.shape[1])))
        first = _placed(name, value, target)
        second = mirror.mirrored(name, first)
        state[name] = (first + second) / 2 if name.startswith("head.1") else first + second
        if name == "head.1.bias":
            state[name] = (value + mirror.mirrored(name, value)) / 2
    return state


def _placed(name: str, value: Tensor, target: Tensor) -> Tensor:
    """The narrow parameter as the first half of the wide one's channels."""
    inside = torch.zeros_like(target)
    parts = 3 if ".qkv." in name else 1
    for part, given in zip(inside.chunk(parts), value.chunk(parts), strict=True):
        if any(2 * n != m and n != m for n, m in zip(given.shape, part.shape, strict=True)):
            raise CheckpointError(
                f"start_from: expected half the width of {name} {tuple(target.shape)}, "
                f"got {tuple(value.shape)}"
            )
        part[tuple(slice(n) for n in given.shape)] = given
    return inside
