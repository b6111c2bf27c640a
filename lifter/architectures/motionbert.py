"""MotionBERT (DSTformer): two streams of spatial and temporal attention, fused token by token (seq2seq)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from lifter.h2ot.hourglass import Hourglass
from lifter.layers import (
    Attention,
    DropPath,
    LiftingNetwork,
    Mlp,
    check_windows,
    drop_path_rates,
    fuse_streams,
    group_by_joint,
    init_equal_shares,
    module_list,
    repeat_per_joint,
    take,
)
from lifter.spec import Schedule


class MotionBERT(LiftingNetwork):
    """Lifts 2D keypoints with scores (B, F, J, C) float32 to poses (B, F, J, 3) float32.

    Input and output are in normalised image space; `lifter.normalise` takes the output to metres.
    A prune at block b sits before both streams of block b; both go on with the same frames.
    Names follow the released state dicts.
    """

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        in_channels: int = 3,
        width: int = 256,
        depth: int = 5,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        rep_width: int = 512,
        drop_path: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.shape = (frames, joints, in_channels)
        self.joints_embed = nn.Linear(in_channels, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, joints, width))
        self.temp_embed = nn.Parameter(torch.zeros(1, frames, 1, width))
        hidden = int(width * mlp_ratio)
        rates = drop_path_rates(drop_path, depth)
        self.blocks_st = module_list(StreamBlock(width, heads, hidden, rate) for rate in rates)
        self.blocks_ts = module_list(StreamBlock(width, heads, hidden, rate) for rate in rates)
        self.ts_attn = module_list(nn.Linear(2 * width, 2) for _ in rates)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pre_logits = nn.Sequential(
            OrderedDict(fc=nn.Linear(width, rep_width), act=nn.Tanh()),
        )
        self.head = nn.Linear(rep_width, 3)
        self.hourglass = Hourglass(schedule, frames, depth, width, heads)
        self._initialise()

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """Poses (B, F, J, 3), or of `rows` alone."""
        return self.hourglass.recover(*self.encode(x, rows), self.regress, rows)

    def encode(self, x: Tensor, rows: slice | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, J, D) of the last block and their frames' window positions (K,) or (B, K)."""
        check_windows(x, self)
        frame_indices = self.hourglass.input_frames
        tokens = self.joints_embed(take(x, frame_indices)) + self.pos_embed  # (B, K, J, D)
        tokens = tokens + self.temp_embed[:, frame_indices]
        for i, (st, ts, share) in enumerate(zip(self.blocks_st, self.blocks_ts, self.ts_attn, strict=True)):
            tokens, frame_indices = self.hourglass.prune(i, tokens, frame_indices, x, ts.attention_received)
            query_index, frame_indices = self.hourglass.output_tokens(i, frame_indices, rows)
            spatial_first = st.temporal(st.spatial(tokens), query_index)  # (B, K, J, D)
            temporal_first = ts.spatial(ts.temporal(tokens, query_index))
            tokens = fuse_streams(share, spatial_first, temporal_first)
        return self.norm(tokens), frame_indices

    def regress(self, tokens: Tensor) -> Tensor:
        """Poses (B, K, J, 3) from tokens (B, K, J, D)."""
        poses: Tensor = self.head(self.pre_logits(tokens))
        return poses

    def _initialise(self) -> None:
        """Initial weights as in MotionBERT: small, and both streams with equal shares."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.temp_embed, std=0.02)
        for share in self.ts_attn:
            init_equal_shares(share)


class StreamBlock(nn.Module):
    """Attention over joints and attention over time, each with its own MLP; the caller sets their order."""

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1_s, self.norm1_t = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn_s, self.attn_t = Attention(width, heads), Attention(width, heads)
        self.norm2_s, self.norm2_t = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.mlp_s, self.mlp_t = Mlp(width, hidden), Mlp(width, hidden)
        self.drop_path = DropPath(drop_path)

    def spatial(self, x: Tensor) -> Tensor:
        """Joints of a frame attend to one another: (B, K, J, D) -> (B, K, J, D)."""
        attended = self.attn_s(self.norm1_s(x).flatten(0, 1)).view(x.shape)
        x = x + self.drop_path(attended)
        output: Tensor = x + self.drop_path(self.mlp_s(self.norm2_s(x)))
        return output

    def temporal(self, x: Tensor, query_index: Tensor | None = None) -> Tensor:
        """Frames of a joint attend to one another: (B, K, J, D) -> (B, K or n, J, D).

        query_index: (n,) or (B, n), the frames to compute; None for all.
        """
        B, _, J, D = x.shape
        attended = self.attn_t(group_by_joint(self.norm1_t(x)), repeat_per_joint(query_index, J))
        attended = attended.view(B, J, -1, D).transpose(1, 2)
        x = x if query_index is None else take(x, query_index)
        x = x + self.drop_path(attended)
        output: Tensor = x + self.drop_path(self.mlp_t(self.norm2_t(x)))
        return output

    def attention_received(self, x: Tensor) -> Tensor:
        """Attention (B, K) that each frame of x (B, K, J, D) would receive in this block."""
        return self.attn_t.attention_received(self.norm1_t(x))
