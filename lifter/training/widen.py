"""A network of twice the width that answers as the narrow one did, to go on training from (Net2Net)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stream.errors import CheckpointError


@torch.no_grad()
def widened(narrow: Mapping[str, Tensor], wide: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """The state dict for `wide` (twice the width and heads) with the answers of the state dict `narrow`.

    Every channel, head and hidden unit is doubled. What reads a doubled channel shares its weight between
    the two at random, so that they learn apart from there on. Layer norms see the same mean and variance.
    """
    state = {}
    for name, target in wide.state_dict().items():
        value = narrow[name]
        factors = [new / old for new, old in zip(target.shape, value.shape, strict=True)]
        if set(factors) - {1.0, 2.0}:
            raise CheckpointError(
                f"start_from: expected half the width of {name} {tuple(target.shape)}, "
                f"got {tuple(value.shape)}"
            )
        if value.ndim == 2 and factors[1] == 2:
            share = 0.5 + 0.4 * (torch.rand(value.shape, generator=generator) - 0.5)
            value = torch.cat([share * value, (1 - share) * value], dim=1)
            factors[1] = 1.0
        if factors[0] == 2:  # rows are outputs; queries, keys and values are doubled each for themselves
            parts = value.chunk(3) if ".qkv." in name else (value,)
            value = torch.cat([row for part in parts for row in (part, part)])
        if factors[-1] == 2 and value.ndim > 2:
            value = torch.cat([value, value], dim=-1)
        state[name] = value.clone()
    return state
