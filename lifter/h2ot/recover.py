"""How the pruned frames come back: the token recovering modules of section 3.2.

A recoverer is called with the tokens of the last block (B, K, J, D), their places in the window,
the regression head and the rows of the window asked for (a slice with start and stop, None for all),
and answers with the poses of those rows (B, F, J, 3). Before the last block, `needs(kept, asked)` tells
which of the kept frames the answer is made of, as positions (n,) or (B, n), None for all of them: no
other token need leave that block.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lifter.layers import CrossAttention, take
from stream.errors import ConfigError

Head = Callable[[Tensor], Tensor]  # (B, K, J, D) -> (B, K, J, 3)


def between(kept: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For asked times (T,) in frames the kept frames on both sides and the weight of the right one.

    kept (K,) or (B, K) sorted; answers are (T,) or (B, T): left, right int64, weight float32 in 0..1,
    constant before the first and after the last kept frame.
    """
    kept = kept.float()
    asked = times.float().expand(*kept.shape[:-1], -1)
    # Counting instead of searching: what ONNX has no word for cannot be exported.
    right = (kept[..., None, :] < asked[..., None]).sum(dim=-1).clamp(max=kept.shape[-1] - 1)
    left = (right - 1).clamp(min=0)
    start, end = kept.gather(-1, left), kept.gather(-1, right)
    return left, right, ((asked - start) / (end - start).clamp(min=1e-6)).clamp(0, 1)


def blend(poses: Tensor, left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Poses (B, T, J, 3) between those (B, K, J, 3) at left and right, as `between` answers."""
    return torch.lerp(take(poses, left), take(poses, right), weight[..., None, None].to(poses.dtype))


def interpolate(poses: Tensor, kept: Tensor, times: Tensor) -> Tensor:
    """Poses (B, T, J, 3) at asked times (T,) in frames, from poses (B, K, J, 3) at kept (K,) or (B, K)."""
    return blend(poses, *between(kept, times))


class TRI(nn.Module):
    """Token recovering interpolation: head first, then linear in time (section 3.2.2).

    Poses are interpolated at the true places of the kept frames, which are sorted; so it works
    after every pruner. Places known beforehand (TPS) make the whole recovery one gather and one lerp.
    """

    times: Tensor
    left: Tensor
    right: Tensor
    weight: Tensor

    def __init__(self, frames: int, places: np.ndarray | None) -> None:
        super().__init__()
        self.known, self.places = places is not None, places
        self.register_buffer("times", torch.arange(frames), persistent=False)
        if places is not None:
            plan = between(torch.tensor(places.tolist()), self.times)
            for name, value in zip(("left", "right", "weight"), plan, strict=True):
                self.register_buffer(name, value, persistent=False)

    def needs(self, kept: Tensor, asked: slice | None) -> Tensor | None:
        if asked is None:
            return None
        K = kept.shape[-1]
        if self.places is not None:
            first = max(0, int(np.searchsorted(self.places, asked.start, side="right")) - 1)
            end = min(K, int(np.searchsorted(self.places, asked.stop - 1)) + 1)
            return self.times[first:end]
        # Those inside and one on either side, of any choice: a number that does not hang on the choice.
        number = min(K, asked.stop - asked.start + 2)
        first = (kept < asked.start).sum(dim=-1, keepdim=True) - 1
        return first.clamp(0, K - number) + self.times[:number]

    def forward(self, tokens: Tensor, kept: Tensor, head: Head, asked: slice | None = None) -> Tensor:
        poses = head(tokens)  # (B, K, J, 3)
        if self.known and asked is None:
            return blend(poses, self.left, self.right, self.weight)
        return interpolate(poses, kept, self.times if asked is None else self.times[asked])


class TRA(nn.Module):
    """Token recovering attention: learnable tokens of all frames ask those that are left (section 3.2.1).

    For each joint alike: tokens + MCA(tokens, kept, kept) (eq. 5), then the head on F frames.
    """

    def __init__(self, frames: int, width: int, heads: int = 8, qkv_bias: bool = True) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.zeros(1, frames, width))
        self.attention = CrossAttention(width, heads, qkv_bias)

    def needs(self, kept: Tensor, asked: slice | None) -> None:
        return None

    def forward(self, tokens: Tensor, kept: Tensor, head: Head, asked: slice | None = None) -> Tensor:
        B, K, J, D = tokens.shape
        known = tokens.transpose(1, 2).reshape(B * J, K, D)
        queries = self.tokens if asked is None else self.tokens[:, asked]
        queries = queries.expand(B * J, -1, -1)  # (B * J, F, D)
        recovered = queries + self.attention(queries, known, known)
        return head(recovered.view(B, J, -1, D).transpose(1, 2))


class Centre(nn.Module):
    """Recovers nothing but the centre frame, which every pruner kept (seq2frame, section 3.3.3)."""

    def __init__(self, centre: int) -> None:
        super().__init__()
        self.centre = centre

    def needs(self, kept: Tensor, asked: slice | None) -> Tensor:
        if asked is not None:
            _expect_row(self.centre, asked)
        return _first_from(self.centre, kept)

    def forward(self, tokens: Tensor, kept: Tensor, head: Head, asked: slice | None = None) -> Tensor:
        return head(take(tokens, _first_from(self.centre, kept)))  # (B, 1, J, 3)


class Kept(nn.Module):
    """Recovers nothing: poses of the frames still alive, all of them in a model without pruning.

    only: the row of the window that can be asked for where frames are pruned, since it is always kept.
    """

    def __init__(self, only: int | None = None) -> None:
        super().__init__()
        self.only = only

    def needs(self, kept: Tensor, asked: slice | None) -> Tensor | None:
        if asked is None:
            return None
        if self.only is not None:
            _expect_row(self.only, asked)
        return _first_from(asked.start, kept) + torch.arange(asked.stop - asked.start, device=kept.device)

    def forward(self, tokens: Tensor, kept: Tensor, head: Head, asked: slice | None = None) -> Tensor:
        poses, needed = head(tokens), self.needs(kept, asked)
        return poses if needed is None else take(poses, needed)


def _expect_row(row: int, asked: slice) -> None:
    if (asked.start, asked.stop) != (row, row + 1):
        raise ConfigError(
            f"asked: this model's schedule leaves poses of row {row} for sure, not of rows {asked.start} to "
            f"{asked.stop - 1}; those need recoverer 'tri' or 'tra'"
        )


def _first_from(row: int, kept: Tensor) -> Tensor:
    """Position (1,) or (B, 1) of the first frame at `row` or later among those kept, (K,) or (B, K)."""
    return (kept < row).sum(dim=-1, keepdim=True)
