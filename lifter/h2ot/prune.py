"""Token pruning modules (section 3.1): which frames' tokens go on to the next blocks.

| class | section | the frames it keeps                                              |
|-------|---------|------------------------------------------------------------------|
| TPC   | 3.1.1   | centres of density-peak clusters of the tokens                   |
| TPA   | 3.1.2   | frames that receive the most attention in the block              |
| TPMo  | 3.1.3   | frames before which the 2D pose moves most                       |
| TPS   | 3.1.4   | uniform samples in time, known before any input                  |

Shapes: K frames are alive before the stage and r of them are kept (`keep`); F is the window.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Indices = NDArray[np.int64]


class PruningInput(NamedTuple):
    """State of the network before block b, with K frames alive.

    tokens: (B, K, J, D) float.
    keypoints: (B, K, J, C) network input of the same frames, x and y first.
    frame_indices: (K,) or (B, K) int64, their positions in the window, rising.
    attention: attention(tokens) -> (B, K), the attention each frame receives in block b.
    """

    tokens: Tensor
    keypoints: Tensor
    frame_indices: Tensor
    attention: Callable[[Tensor], Tensor]


class Pruner(nn.Module):
    """One stage of pruning.

    forward(PruningInput) returns sorted positions among the K frames alive: (r,) int64 when all
    windows keep the same frames, else (B, r).
    fixed_frames: (r,) window positions of the frames it keeps, or None when they depend on the input.
    """

    fixed_frames: Indices | None = None


def uniform(alive: int, keep: int) -> Indices:
    """Positions (keep,) int64 of `keep` uniform samples of `alive` frames (section 3.1.4).

    The samples contain the first and the last frame, and for odd counts the centre: 243 -> 121 -> 81.
    """
    samples: Indices = np.floor(np.linspace(0, alive - 1, keep, dtype=np.float64) + 0.5).astype(np.int64)
    return samples


class TPS(Pruner):
    """Token pruning sampler: uniform in time (section 3.1.4).

    frames: (K,) window positions of the frames alive.
    centre: window position that must stay, or None; it replaces the sample nearest to it.
    """

    index: Tensor  # (r,) int64

    def __init__(self, keep: int, frames: Indices, centre: int | None = None) -> None:
        super().__init__()
        index = uniform(len(frames), keep)
        if centre is not None:
            position = np.searchsorted(frames, centre)
            index[np.abs(index - position).argmin()] = position
        self.fixed_frames = frames[index]
        self.register_buffer("index", torch.tensor(index.tolist()), persistent=False)

    def forward(self, state: PruningInput) -> Tensor:
        return self.index


class TopK(Pruner):
    """Keeps the r frames of the highest score; among equal scores the earlier frame wins.

    frames: not read, the choice depends on the input.
    centre: window position that must stay, or None; it counts among the r frames.
    """

    def __init__(self, keep: int, frames: Indices | None = None, centre: int | None = None) -> None:
        super().__init__()
        self.keep, self.centre = keep, centre

    def forward(self, state: PruningInput) -> Tensor:
        score = self.score(state)  # (B, K)
        if self.centre is not None:
            score = score.masked_fill(state.frame_indices == self.centre, torch.inf)
        best = score.sort(dim=1, descending=True, stable=True).indices[:, : self.keep]
        return best.sort(dim=1).values

    def score(self, state: PruningInput) -> Tensor:
        """Score (B, K) of each frame alive."""
        raise NotImplementedError


class TPC(TopK):
    """Token pruning cluster: centres of density-peak clusters, DPC-kNN (section 3.1.1).

    Two mutual nearest neighbours are equally dense. The authors' release breaks such ties by random
    noise at inference; this class takes the earlier frame as the denser one, so results repeat.

    neighbours: k of equation 1. As in the release, the frame itself is one of the k.
    noise: (B, K) in 0..1, or None. Set it to reproduce a run of the release exactly.
    """

    neighbours = 2
    noise: Tensor | None = None

    def score(self, state: PruningInput) -> Tensor:
        pooled = state.tokens.mean(dim=2).float()  # (B, K, D), mean over joints
        return density_peaks(pooled, self.neighbours, self.noise)


def density_peaks(x: Tensor, neighbours: int, noise: Tensor | None = None) -> Tensor:
    """Score rho * delta (B, K) of each point of x (B, K, D) as a cluster centre (equations 1 and 2).

    rho is the density, delta the distance to the nearest denser point. Distances are divided by
    sqrt(D), as in the release.

    With noise (B, K), every detail follows the release, whose choice depends on the last digits:
    distances are rounded as in the release (a point may lie at 1e-3 from itself), ties that the noise does
    not break stay ties, and the densest point gets the largest distance in the whole window.
    """
    as_released = noise is not None
    distance = (torch.cdist(x, x) if as_released else distances(x)) / x.shape[-1] ** 0.5
    nearest = distance.sort(dim=-1).values[..., :neighbours]
    density = (-nearest.square().mean(dim=-1)).exp()  # rho, equation 1
    if noise is not None:
        density = density + noise * 1e-6
    own, other = density[:, :, None], density[:, None, :]
    frame = torch.arange(x.shape[1], device=x.device)
    earlier = (other == own) & (frame < frame[:, None])
    denser = other > own if as_released else (other > own) | earlier
    to_denser = distance.masked_fill(~denser, torch.inf).amin(dim=-1)
    farthest = distance.amax(dim=(1, 2))[:, None] if as_released else distance.amax(dim=-1)
    delta = torch.where(denser.any(dim=-1), to_denser, farthest)  # equation 2
    score: Tensor = density * delta
    return score


def distances(x: Tensor) -> Tensor:
    """Euclidean distances (B, K, K) float32 between points x (B, K, D).

    The result is symmetric to the bit and 0 on the diagonal, so two mutual nearest neighbours get
    equal densities. Products of points in float64 are exact enough for close points, and many
    times faster than differences in float32.
    """
    x = x.double()
    distance: Tensor = torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist").float()
    diagonal = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return torch.maximum(distance, distance.mT).masked_fill(diagonal, 0)


class TPA(TopK):
    """Token pruning attention: frames that receive the most attention in the block (section 3.1.2).

    Equation 3 as printed sums each row of the attention map, which a softmax makes 1. The sum in
    this class runs over the queries: the attention that all frames give to one frame.
    """

    def score(self, state: PruningInput) -> Tensor:
        return state.attention(state.tokens)


class TPMo(TopK):
    """Token pruning motion: frames before which the 2D pose moves most (section 3.1.3, equation 4).

    Equation 4 as printed sums signed differences, in which opposite motions cancel; this class
    sums magnitudes. The first frame has motion 0.
    """

    def score(self, state: PruningInput) -> Tensor:
        pose = state.keypoints[..., :2].flatten(2)  # (B, K, 2 J)
        return nn.functional.pad(pose.diff(dim=1).abs().sum(dim=-1), (1, 0))
