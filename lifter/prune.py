"""Which frames go on: the token pruning modules of section 3.1.

A pruner is built for one stage, `Pruner(alive, keep, centre)`: of `alive` frames it keeps `keep`;
with `centre` the frame in the middle of the window is always among them (section 3.3.3). Called with
what it may look at, it answers with sorted positions among the frames alive: (keep,) for all windows
alike or (B, keep) for each its own.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Clues(NamedTuple):
    """What a pruner may look at: the state of the network before block b.

    tokens (B, K, J, D); keypoints (B, K, J, C) network input of the frames alive; kept (K,) or (B, K)
    their places in the window; attention() -> (B, K) how much attention each frame gets in block b.
    """

    tokens: Tensor
    keypoints: Tensor
    kept: Tensor
    attention: Callable[[], Tensor]


def uniform(alive: int, keep: int) -> np.ndarray:
    """Positions (keep,) int64 of `keep` uniform samples of `alive` frames (section 3.1.4).

    First and last are always there, for odd counts the centre too: 243 -> 121 -> 81.
    """
    return np.floor(np.linspace(0, alive - 1, keep, dtype=np.float64) + 0.5).astype(np.int64)


class TPS(nn.Module):
    """Token pruning sampler: uniform in time, so known before any input (section 3.1.4)."""

    index: Tensor  # (keep,) int64

    def __init__(self, alive: int, keep: int, centre: int | None = None) -> None:
        super().__init__()
        index = uniform(alive, keep)
        if centre is not None:  # the nearest sample gives way; nothing changes where it is there already
            index[np.abs(index - centre).argmin()] = centre
        self.register_buffer("index", torch.from_numpy(index), persistent=False)

    def forward(self, clues: Clues) -> Tensor:
        return self.index


def take(x: Tensor, index: Tensor) -> Tensor:
    """Frames of x (B, K, ...) or (K,) at index (r,), or at index (B, r) for each window its own."""
    if index.ndim == 1:
        return x.index_select(min(1, x.ndim - 1), index)
    if x.ndim == 1:
        return x[index]
    return torch.take_along_dim(x, index.reshape(index.shape + (1,) * (x.ndim - 2)), dim=1)
