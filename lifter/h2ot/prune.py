"""Which frames go on: the token pruning modules of section 3.1.

A pruner works at one stage. It is built as `Pruner(keep, places, centre)`: how many frames go on,
places (K,) in the window of the frames alive where they are known beforehand (else None), and the
place of the frame that must stay (else None). Its own `places` are those of the frames that go on.
Called with `Clues`, it answers with sorted positions among the frames alive: (keep,) for all windows
alike or (B, keep) for each its own.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Clues(NamedTuple):
    """What a pruner may look at: the state of the network before block b, K frames alive.

    tokens (B, K, J, D); keypoints (B, K, J, C), x and y first, of the same frames; kept (K,) or (B, K)
    their places in the window; attention(tokens) -> (B, K) how much each frame gets in block b.
    """

    tokens: Tensor
    keypoints: Tensor
    kept: Tensor
    attention: Callable[[Tensor], Tensor]


def uniform(alive: int, keep: int) -> np.ndarray:
    """Positions (keep,) int64 of `keep` uniform samples of `alive` frames (section 3.1.4).

    First and last are always there, for odd counts the centre too: 243 -> 121 -> 81.
    """
    return np.floor(np.linspace(0, alive - 1, keep, dtype=np.float64) + 0.5).astype(np.int64)


class TPS(nn.Module):
    """Token pruning sampler: uniform in time, so known before any input (section 3.1.4)."""

    index: Tensor  # (keep,) int64

    def __init__(self, keep: int, places: np.ndarray, centre: int | None = None) -> None:
        super().__init__()
        index = uniform(len(places), keep)
        if centre is not None:  # the nearest sample gives way, which changes nothing where it is the centre
            position = np.searchsorted(places, centre)
            index[np.abs(index - position).argmin()] = position
        self.places = places[index]
        self.register_buffer("index", torch.tensor(index.tolist()), persistent=False)

    def forward(self, clues: Clues) -> Tensor:
        return self.index


class _ByScore(nn.Module):
    """Keeps the frames of the highest score; of equals the earlier one, so that the choice is repeatable."""

    places: np.ndarray | None = None  # of the frames that go on: not known beforehand

    def __init__(self, keep: int, places: np.ndarray | None, centre: int | None = None) -> None:
        super().__init__()
        self.keep, self.centre = keep, centre

    def forward(self, clues: Clues) -> Tensor:
        score = self.score(clues)  # (B, K)
        if self.centre is not None:
            score = score.masked_fill(clues.kept == self.centre, torch.inf)
        best = score.sort(dim=1, descending=True, stable=True).indices[:, : self.keep]
        return best.sort(dim=1).values

    def score(self, clues: Clues) -> Tensor:
        raise NotImplementedError


class TPC(_ByScore):
    """Token pruning cluster: the centres of density-peak clusters, DPC-kNN (section 3.1.1).

    The released code breaks ties between equal densities, which every pair of mutual neighbours has,
    by random noise at inference; here the earlier frame counts as the denser one. Set `noise` (B, K)
    in 0..1 to repeat a released run exactly.
    """

    neighbours = 2  # k, as released: the frame itself is one of them
    noise: Tensor | None = None

    def score(self, clues: Clues) -> Tensor:
        pooled = clues.tokens.mean(dim=2).float()  # (B, K, D)
        return density_peaks(pooled, self.neighbours, self.noise)


def density_peaks(x: Tensor, neighbours: int, noise: Tensor | None = None) -> Tensor:
    """Score rho * delta (B, K) of each point of x (B, K, D) as a cluster centre (eq. 1 and 2).

    Distances are divided by sqrt(D), as in the released code. With noise (B, K) all is as released:
    its choice hangs on the last digits, so distances are rounded as there (a point may lie at 1e-3
    from itself), ties that the noise leaves stay ties, and the densest gets the largest of all distances.
    """
    released = noise is not None
    distance = (torch.cdist(x, x) if released else distances(x)) / x.shape[-1] ** 0.5
    nearest = distance.sort(dim=-1).values[..., :neighbours]
    density = (-nearest.square().mean(dim=-1)).exp()  # rho, eq. 1
    if noise is not None:
        density = density + noise * 1e-6
    here, there = density[:, :, None], density[:, None, :]
    frame = torch.arange(x.shape[1], device=x.device)
    earlier = (there == here) & (frame < frame[:, None])
    denser = there > here if released else (there > here) | earlier
    to_denser = distance.masked_fill(~denser, torch.inf).amin(dim=-1)
    farthest = distance.amax(dim=(1, 2))[:, None] if released else distance.amax(dim=-1)
    return density * torch.where(denser.any(dim=-1), to_denser, farthest)  # delta, eq. 2


def distances(x: Tensor) -> Tensor:
    """Distances (B, K, K) between points x (B, K, D), to the bit symmetric and 0 on the diagonal.

    So two mutual neighbours are equally dense. In float64, products of points are exact enough for
    close ones, and many times faster than differences in float32.
    """
    x = x.double()
    distance = torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist").float()
    here = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    return torch.maximum(distance, distance.mT).masked_fill(here, 0)


class TPA(_ByScore):
    """Token pruning attention: the frames that get the most attention in the block (section 3.1.2).

    The paper sums the attention score over j; rows of a softmax sum to 1, so the sum here goes over
    the queries: what each frame gives to all others.
    """

    def score(self, clues: Clues) -> Tensor:
        return clues.attention(clues.tokens)


class TPMo(_ByScore):
    """Token pruning motion: the frames before which the 2D pose moved most (section 3.1.3, eq. 4).

    As printed, differences are summed with their signs, and opposite motions cancel; magnitudes are
    summed here. The first frame has no motion.
    """

    def score(self, clues: Clues) -> Tensor:
        pose = clues.keypoints[..., :2].flatten(2)  # (B, K, 2 J)
        return nn.functional.pad(pose.diff(dim=1).abs().sum(dim=-1), (1, 0))
