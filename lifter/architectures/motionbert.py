"""MotionBERT (DSTformer): two streams of spatial and temporal attention, fused token by token (seq2seq)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from lifter.h2ot.hourglass import Hourglass
from lifter.layers import (
    Attention,
    DropPath,
    Mlp,
    by_joint,
    drop_path_rates,
    expect_windows,
    module_list,
    per_joint,
    take,
)
from lifter.spec import Schedule


class MotionBERT(nn.Module):
    """Lifts 2D keypoints with scores (B, F, J, C_in) float32 to poses (B, F, J, 3) float32.

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

    def forward(self, x: Tensor, asked: slice | None = None) -> Tensor:
        return self.hourglass.recover(*self.encode(x, asked), self.regress, asked)

    def encode(self, x: Tensor, asked: slice | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, J, D) of the last block and the places (K,) or (B, K) of their frames."""
        expect_windows(x, self)
        kept = self.hourglass.entering
        tokens = self.joints_embed(take(x, kept)) + self.pos_embed + self.temp_embed[:, kept]  # (B, K, J, D)
        for i, (st, ts, fuse) in enumerate(zip(self.blocks_st, self.blocks_ts, self.ts_attn, strict=True)):
            tokens, kept = self.hourglass.prune(i, tokens, kept, x, ts.received)
            needed, kept = self.hourglass.narrow(i, kept, asked)
            a = st.temporal(st.spatial(tokens), needed)  # (B, K, J, D)
            b = ts.spatial(ts.temporal(tokens, needed))
            share = fuse(torch.cat((a, b), dim=-1)).softmax(dim=-1)  # (B, K, J, 2)
            tokens = a * share[..., :1] + b * share[..., 1:]
        return self.norm(tokens), kept

    def regress(self, tokens: Tensor) -> Tensor:
        """Poses (B, K, J, 3) from tokens (B, K, J, D)."""
        return self.head(self.pre_logits(tokens))

    def _initialise(self) -> None:
        """Weights as MotionBERT starts training: small, and both streams with equal shares."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.temp_embed, std=0.02)
        for fuse in self.ts_attn:
            nn.init.zeros_(fuse.weight)
            nn.init.constant_(fuse.bias, 0.5)


class StreamBlock(nn.Module):
    """Attention among joints and attention in time, each with its own MLP; the stream sets their order."""

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
        return x + self.drop_path(self.mlp_s(self.norm2_s(x)))

    def temporal(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        """Frames of a joint attend to one another: (B, K, J, D) -> (B, K, J, D), or those at `asked` do."""
        B, _, J, D = x.shape
        attended = self.attn_t(by_joint(self.norm1_t(x)), per_joint(asked, J))
        attended = attended.view(B, J, -1, D).transpose(1, 2)
        x = x if asked is None else take(x, asked)
        x = x + self.drop_path(attended)
        return x + self.drop_path(self.mlp_t(self.norm2_t(x)))

    def received(self, x: Tensor) -> Tensor:
        """How much attention each frame of x (B, K, J, D) would get here, (B, K)."""
        return self.attn_t.received(self.norm1_t(x))
