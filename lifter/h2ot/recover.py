"""Token recovering modules (section 3.2): how the poses of pruned frames come back.

| class       | section | poses it returns                                          |
|-------------|---------|-----------------------------------------------------------|
| TRA         | 3.2.1   | all frames, by attention of learnable tokens (seq2seq)    |
| TRI         | 3.2.2   | all frames, by linear interpolation of poses (seq2seq)    |
| TokenTRI    | 3.2     | all frames, by interpolation of tokens before the head    |
| CentreFrame | 3.3.3   | the centre frame alone (seq2frame)                        |
| NoRecovery  | -       | the frames still alive                                    |

Shapes: K frames are alive after the last block; F is the window; R rows of it are requested.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lifter.h2ot.prune import Indices
from lifter.layers import CrossAttention, take
from stream.errors import ConfigError

Head = Callable[[Tensor], Tensor]  # (B, K, J, D) -> (B, K, J, 3)


class Recoverer(nn.Module):
    """Turns the tokens of the last block into poses.

    forward(tokens, frame_indices, head, rows) returns poses (B, R, J, 3), where tokens are
    (B, K, J, D), frame_indices (K,) or (B, K) their sorted positions in the window, head the
    regression head, and rows the part of the window to return (start and stop set; None for all).
    """

    def tokens_needed(self, frame_indices: Tensor, rows: slice | None) -> Tensor | None:
        """Positions (n,) or (B, n) int64, among the frames alive, that `rows` depend on; None for all.

        The last block has to compute no other token.
        """
        raise NotImplementedError


def lerp_weights(frame_indices: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbours and weight for linear interpolation at times (T,), counted in frames.

    frame_indices: (K,) or (B, K), sorted. Returns left and right, int64 positions among the K, and
    the weight of the right neighbour, float32 in 0..1; each (T,) or (B, T). Before the first and after
    the last frame the value is constant.
    """
    kept = frame_indices.float()
    at = times.float().expand(*kept.shape[:-1], -1)
    # Counted, not searched: ONNX has no operator for searchsorted.
    right = (kept[..., None, :] < at[..., None]).sum(dim=-1).clamp(max=kept.shape[-1] - 1)
    left = (right - 1).clamp(min=0)
    start, end = kept.gather(-1, left), kept.gather(-1, right)
    return left, right, ((at - start) / (end - start).clamp(min=1e-6)).clamp(0, 1)


def lerp(poses: Tensor, left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Poses (B, T, J, 3) between poses (B, K, J, 3) at `left` and `right` (see `lerp_weights`)."""
    return torch.lerp(take(poses, left), take(poses, right), weight[..., None, None].to(poses.dtype))


def interpolate(poses: Tensor, frame_indices: Tensor, times: Tensor) -> Tensor:
    """Poses (B, T, J, 3) at times (T,) in frames, from poses (B, K, J, 3) at frame_indices (K,) or (B, K)."""
    return lerp(poses, *lerp_weights(frame_indices, times))


class TRI(Recoverer):
    """Token recovering interpolation: head first, then linear in time (section 3.2.2).

    Poses are interpolated at the true positions of the kept frames, which are sorted, so TRI works
    after every pruner. With fixed_frames (K,), known before any input (TPS), the whole recovery is
    one gather and one lerp.
    """

    times: Tensor  # (F,) int64
    left: Tensor  # (F,) int64
    right: Tensor  # (F,) int64
    weight: Tensor  # (F,) float32

    def __init__(self, frames: int, fixed_frames: Indices | None) -> None:
        super().__init__()
        self.fixed_frames = fixed_frames
        # A flag of its own: torch.compile cannot guard a NumPy array in inference mode.
        self.has_fixed_frames = fixed_frames is not None
        self.register_buffer("times", torch.arange(frames), persistent=False)
        if fixed_frames is not None:
            values = lerp_weights(torch.tensor(fixed_frames.tolist()), self.times)
            for name, value in zip(("left", "right", "weight"), values, strict=True):
                self.register_buffer(name, value, persistent=False)

    def tokens_needed(self, frame_indices: Tensor, rows: slice | None) -> Tensor | None:
        if rows is None:
            return None
        K = frame_indices.shape[-1]
        if self.fixed_frames is not None:
            first = max(0, int(np.searchsorted(self.fixed_frames, rows.start, side="right")) - 1)
            end = min(K, int(np.searchsorted(self.fixed_frames, rows.stop - 1)) + 1)
            return self.times[first:end]
        # The kept frame before the rows, and either all rows, or fewer of them and the kept frame after them.
        count = min(K, rows.stop - rows.start + 1)
        before = (frame_indices < rows.start).sum(dim=-1, keepdim=True) - 1
        positions: Tensor = before.clamp(0, K - count) + self.times[:count]
        return positions

    def forward(self, tokens: Tensor, frame_indices: Tensor, head: Head, rows: slice | None = None) -> Tensor:
        poses = head(tokens)  # (B, K, J, 3)
        if self.has_fixed_frames and rows is None:
            return lerp(poses, self.left, self.right, self.weight)
        return interpolate(poses, frame_indices, self.times if rows is None else self.times[rows])


class TokenTRI(TRI):
    """TRI before the head, which Figure 2 allows: tokens are interpolated, then all pass the head."""

    def forward(self, tokens: Tensor, frame_indices: Tensor, head: Head, rows: slice | None = None) -> Tensor:
        poses: Tensor = head(super().forward(tokens, frame_indices, nn.Identity(), rows))
        return poses


class TRA(Recoverer):
    """Token recovering attention: learnable tokens of all frames attend to the kept tokens (section 3.2.1).

    Per joint: tokens + MCA(tokens, kept, kept) (equation 5), then the head on the rows requested.
    """

    def __init__(self, frames: int, width: int, heads: int = 8, qkv_bias: bool = True) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.zeros(1, frames, width))
        self.attention = CrossAttention(width, heads, qkv_bias)

    def tokens_needed(self, frame_indices: Tensor, rows: slice | None) -> None:
        return None

    def forward(self, tokens: Tensor, frame_indices: Tensor, head: Head, rows: slice | None = None) -> Tensor:
        B, K, J, D = tokens.shape
        kept = tokens.transpose(1, 2).reshape(B * J, K, D)
        queries = self.tokens if rows is None else self.tokens[:, rows]
        queries = queries.expand(B * J, -1, -1)  # (B * J, R, D)
        recovered = queries + self.attention(queries, kept, kept)
        return head(recovered.view(B, J, -1, D).transpose(1, 2))


class CentreFrame(Recoverer):
    """Returns the pose of the centre frame (B, 1, J, 3), which every pruner keeps (section 3.3.3)."""

    def __init__(self, centre: int) -> None:
        super().__init__()
        self.centre = centre

    def tokens_needed(self, frame_indices: Tensor, rows: slice | None) -> Tensor:
        if rows is not None:
            _check_row(self.centre, rows)
        return _first_from(self.centre, frame_indices)

    def forward(self, tokens: Tensor, frame_indices: Tensor, head: Head, rows: slice | None = None) -> Tensor:
        return head(take(tokens, _first_from(self.centre, frame_indices)))


class NoRecovery(Recoverer):
    """Returns the poses of the frames still alive: all F without pruning, else K.

    available_row: with pruning, the one row of the window that can be requested because it is
    always kept; None without pruning.
    """

    def __init__(self, available_row: int | None = None) -> None:
        super().__init__()
        self.available_row = available_row

    def tokens_needed(self, frame_indices: Tensor, rows: slice | None) -> Tensor | None:
        if rows is None:
            return None
        if self.available_row is not None:
            _check_row(self.available_row, rows)
        offsets = torch.arange(rows.stop - rows.start, device=frame_indices.device)
        return _first_from(rows.start, frame_indices) + offsets

    def forward(self, tokens: Tensor, frame_indices: Tensor, head: Head, rows: slice | None = None) -> Tensor:
        poses, needed = head(tokens), self.tokens_needed(frame_indices, rows)
        return poses if needed is None else take(poses, needed)


def _check_row(available: int, rows: slice) -> None:
    if (rows.start, rows.stop) != (available, available + 1):
        raise ConfigError(
            f"rows: expected row {available}, the only one this schedule always keeps, got rows "
            f"{rows.start} to {rows.stop - 1}; other rows need recoverer 'tri' or 'tra'"
        )


def _first_from(row: int, frame_indices: Tensor) -> Tensor:
    """Position (1,) or (B, 1) of the first frame at `row` or later among frame_indices (K,) or (B, K)."""
    return (frame_indices < row).sum(dim=-1, keepdim=True)
