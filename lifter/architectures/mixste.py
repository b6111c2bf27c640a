"""MixSTE: alternating spatial and temporal transformer blocks, one pose per frame (seq2seq)."""

import torch
from torch import Tensor, nn

from lifter.h2ot.hourglass import Hourglass
from lifter.layers import (
    Block,
    LiftingNetwork,
    check_windows,
    drop_path_rates,
    group_by_joint,
    module_list,
    repeat_per_joint,
    take,
)
from lifter.spec import Schedule


class MixSTE(LiftingNetwork):
    """Lifts 2D keypoints (B, F, J, C) float32 to root-relative poses (B, F, J, 3) float32 in metres.

    A prune at block b sits before spatial block b; at b = 0 between spatial and temporal block 0.
    All blocks share one spatial and one temporal norm. Names follow the released state dicts.
    """

    supports_frame_cache = True  # the first spatial block looks at one frame at a time

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

    def forward(self, x: Tensor, rows: slice | None = None, cached: Tensor | None = None) -> Tensor:
        """Poses (B, F, J, 3), or of `rows` alone; cached: `encode_frames` of the K input frames."""
        return self.hourglass.recover(*self.encode(x, rows, cached), self.head, rows)

    def encode_frames(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Tokens (..., J, D) of x (..., J, C) after the first spatial block, each frame without the others.

        condition: (..., 1, D), added to the embedded keypoints (a diffusion lifter's noise level).
        """
        tokens = self.Spatial_patch_to_embedding(x) + self.Spatial_pos_embed[0]
        return self._spatial(0, tokens if condition is None else tokens + condition)

    def encode(
        self, x: Tensor, rows: slice | None = None, cached: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, J, D) of the last block and their frames' window positions (K,) or (B, K)."""
        check_windows(x, self)
        frame_indices = self.hourglass.input_frames
        tokens = self.encode_frames(take(x, frame_indices)) if cached is None else cached  # (B, K, J, D)
        tokens = tokens + self.Temporal_pos_embed[:, frame_indices, None]
        for i, temporal in enumerate(self.TTEblocks):
            tokens, frame_indices = self.hourglass.prune(
                i, tokens, frame_indices, x, temporal.attention_received
            )
            if i > 0:
                tokens = self._spatial(i, tokens)
            query_index, frame_indices = self.hourglass.output_tokens(i, frame_indices, rows)
            B, _, J, D = tokens.shape
            mixed = temporal(group_by_joint(tokens), repeat_per_joint(query_index, J))
            tokens = self.Temporal_norm(mixed).view(B, J, -1, D).transpose(1, 2)
        return tokens, frame_indices

    def _spatial(self, block: int, tokens: Tensor) -> Tensor:
        """Joints of a frame attend to one another: (..., J, D) -> (..., J, D)."""
        mixed: Tensor = self.Spatial_norm(self.STEblocks[block](tokens.flatten(0, -3)))
        return mixed.view(tokens.shape)
