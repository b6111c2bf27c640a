"""Initial weights of a network from two copies of a network of half its width.

The second copy is mirrored. Together they give the average of the narrow network's pose and of the mirrored
input's pose, up to the layer norms, which normalise both halves together; so the weights are symmetric.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lifter.training.symmetry import LeftRightSymmetry
from stream.errors import CheckpointError


@torch.no_grad()
def widen(narrow: Mapping[str, Tensor], wide: nn.Module, symmetry: LeftRightSymmetry) -> dict[str, Tensor]:
    """The state dict for `wide` (twice the width and heads) from the state dict `narrow`.

    Input channels that the narrow network lacks get weight 0. Raises CheckpointError for other widths.
    """
    state = {}
    for name, target in wide.named_parameters():
        value = narrow[name]
        if name == "Spatial_patch_to_embedding.weight":
            value = nn.functional.pad(value, (0, max(0, target.shape[1] - value.shape[1])))
        first = _in_first_half(name, value, target)
        second = symmetry.mirrored(name, first)
        state[name] = (first + second) / 2 if name.startswith("head.1") else first + second
        if name == "head.1.bias":
            state[name] = (value + symmetry.mirrored(name, value)) / 2
    return state


def _in_first_half(name: str, value: Tensor, target: Tensor) -> Tensor:
    """The narrow parameter in the first half of the wide parameter's channels, zeros in the second."""
    padded = torch.zeros_like(target)
    parts = 3 if ".qkv." in name else 1
    for wide_part, narrow_part in zip(padded.chunk(parts), value.chunk(parts), strict=True):
        if any(2 * n != m and n != m for n, m in zip(narrow_part.shape, wide_part.shape, strict=True)):
            raise CheckpointError(
                f"start_from: expected half the width of {name} {tuple(target.shape)}, "
                f"got {tuple(value.shape)}"
            )
        wide_part[tuple(slice(n) for n in narrow_part.shape)] = narrow_part
    return padded
