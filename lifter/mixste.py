"""MixSTE: spatial and temporal transformer blocks in turn, one pose per frame (seq2seq)."""

import torch
from torch import Tensor, nn

from lifter.hourglass import Hourglass
from lifter.layers import Block, by_joint, drop_path_rates, expect_windows, module_list
from lifter.spec import Schedule


class MixSTE(nn.Module):
    """Lifts 2D keypoints (B, F, J, C_in) float32 to root-relative poses (B, F, J, 3) float32 in metres.

    A prune at block b sits before spatial block b; at b = 0 between spatial and temporal block 0.
    All blocks share one spatial and one temporal norm. Names follow the released state dicts.
    """

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

    def forward(self, x: Tensor) -> Tensor:
        return self.hourglass.recover(*self.encode(x), self.head)

    def encode(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, J, D) of the last block and the places (K,) or (B, K) of their frames.

        condition (B, 1, 1, D) is added to every embedded token (what a diffusion lifter knows besides x).
        """
        expect_windows(x, self)
        tokens = self.Spatial_patch_to_embedding(x) + self.Spatial_pos_embed  # (B, F, J, D)
        if condition is not None:
            tokens = tokens + condition
        kept = self.hourglass.every_frame
        for i, (spatial, temporal) in enumerate(zip(self.STEblocks, self.TTEblocks, strict=True)):
            if i > 0:
                tokens, kept = self.hourglass.prune(i, tokens, kept, x, temporal.received)
            B, K, J, D = tokens.shape
            tokens = self.Spatial_norm(spatial(tokens.reshape(B * K, J, D))).view(B, K, J, D)
            if i == 0:
                tokens = tokens + self.Temporal_pos_embed[:, :, None]
                tokens, kept = self.hourglass.prune(i, tokens, kept, x, temporal.received)
            tokens = self.Temporal_norm(temporal(by_joint(tokens)))  # (B * J, K, D)
            tokens = tokens.view(B, J, -1, D).transpose(1, 2)
        return tokens, kept
