"""MixSTE: spatial and temporal transformer blocks in turn, one pose per frame (seq2seq)."""

import torch
from torch import Tensor, nn

from lifter.h2ot.hourglass import Hourglass
from lifter.layers import Block, by_joint, drop_path_rates, expect_windows, module_list, per_joint, take
from lifter.spec import Schedule


class MixSTE(nn.Module):
    """Lifts 2D keypoints (B, F, J, C_in) float32 to root-relative poses (B, F, J, 3) float32 in metres.

    A prune at block b sits before spatial block b; at b = 0 between spatial and temporal block 0.
    All blocks share one spatial and one temporal norm. Names follow the released state dicts.
    """

    remembers = True  # whether `by_frame` can be told ahead: no time is in it

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        in_channels: int = 2,
        width: int = 512,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.shape = (frames, joints, in_channels)
        self.Spatial_patch_to_embedding = nn.Linear(in_channels, width)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, joints, width))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, frames, width))
        hidden = int(width * mlp_ratio)
        rates = drop_path_rates(drop_path, depth)
        self.STEblocks = module_list(Block(width, heads, hidden, rate) for rate in rates)
        self.TTEblocks = module_list(Block(width, heads, hidden, rate) for rate in rates)
        self.Spatial_norm = nn.LayerNorm(width, eps=1e-6)
        self.Temporal_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3))
        self.hourglass = Hourglass(schedule, frames, depth, width, heads)

    def forward(self, x: Tensor, asked: slice | None = None, known: Tensor | None = None) -> Tensor:
        """Poses of the rows asked for; known (B, K, J, D): `by_frame` of the frames entering, if at hand."""
        return self.hourglass.recover(*self.encode(x, asked, known), self.head, asked)

    def by_frame(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What one frame tells without the others: tokens (..., J, D) of x (..., J, C) before any time.

        condition (..., 1, D) is added to embedded tokens (what a diffusion lifter knows besides x).
        """
        tokens = self.Spatial_patch_to_embedding(x) + self.Spatial_pos_embed[0]
        return self._spatial(0, tokens if condition is None else tokens + condition)

    def encode(
        self, x: Tensor, asked: slice | None = None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, J, D) of the last block and the places (K,) or (B, K) of their frames."""
        expect_windows(x, self)
        kept = self.hourglass.entering
        tokens = self.by_frame(take(x, kept)) if known is None else known  # (B, K, J, D)
        tokens = tokens + self.Temporal_pos_embed[:, kept, None]
        for i, temporal in enumerate(self.TTEblocks):
            tokens, kept = self.hourglass.prune(i, tokens, kept, x, temporal.received)
            if i > 0:
                tokens = self._spatial(i, tokens)
            needed, kept = self.hourglass.narrow(i, kept, asked)
            B, _, J, D = tokens.shape
            tokens = self.Temporal_norm(temporal(by_joint(tokens), per_joint(needed, J)))  # (B * J, K, D)
            tokens = tokens.view(B, J, -1, D).transpose(1, 2)
        return tokens, kept

    def _spatial(self, block: int, tokens: Tensor) -> Tensor:
        """Joints of a frame attend to one another: (..., J, D) -> (..., J, D)."""
        return self.Spatial_norm(self.STEblocks[block](tokens.flatten(0, -3))).view(tokens.shape)
