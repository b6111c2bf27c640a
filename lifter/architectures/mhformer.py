"""MHFormer: three hypotheses of the window, refined side by side, then mixed into one pose (seq2frame)."""

from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from lifter.h2ot.hourglass import Hourglass
from lifter.layers import (
    Attention,
    Block,
    CrossAttention,
    DropPath,
    Mlp,
    drop_path_rates,
    expect_windows,
    module_list,
    take,
)
from lifter.spec import Schedule
from stream.errors import ConfigError


class MHFormer(nn.Module):
    """Lifts 2D keypoints (B, F, J, C_in) float32 to the centre frame's pose (B, 1, J, 3) float32 in metres.

    So a pose can only be given (F - 1) / 2 frames after its picture: 3.5 s for 351 frames at 50 Hz.
    output="sequence" answers for every frame instead (with recoverer "none" for every frame kept),
    though only the centre was trained.

    Blocks 0 to depth - 2 refine the hypotheses (SHR), the last one lets them see each other (CHI).
    A prune at block b sits before block b; of several stages the last one always sits before CHI, which
    the paper's b = [0, 1] means (Table 7: 175, 175, 117 tokens), while HoT's single prune at 1 does not.
    Names follow the released state dicts.
    """

    def __init__(
        self,
        frames: int = 351,
        joints: int = 17,
        in_channels: int = 2,
        width: int = 512,
        hidden: int = 1024,
        depth: int = 3,
        heads: int = 8,
        trajectory_heads: int = 9,
        dropout: float = 0.1,
        drop_path: float = 0.2,
        output: Literal["centre", "sequence"] = "centre",
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        if frames % trajectory_heads:
            raise ConfigError(
                f"MHFormer: expected frames to be a multiple of {trajectory_heads}, the heads that share a "
                f"trajectory, got {frames}"
            )
        self.shape = (frames, joints, in_channels)
        self.output = output
        rows = joints * in_channels
        rest = {"dropout": dropout, "drop_path": drop_path}
        self.norm_1, self.norm_2, self.norm_3 = (nn.LayerNorm(frames) for _ in range(3))
        self.Transformer_encoder_1 = TrajectoryEncoder(rows, frames, trajectory_heads, **rest)
        self.Transformer_encoder_2 = TrajectoryEncoder(rows, frames, trajectory_heads, **rest)
        self.Transformer_encoder_3 = TrajectoryEncoder(rows, frames, trajectory_heads, **rest)
        self.embedding_1, self.embedding_2, self.embedding_3 = (
            embedding(rows, width, frames) for _ in range(3)
        )
        self.Transformer_hypothesis = Hypotheses(frames, width, hidden, depth, heads, **rest)
        self.regression = nn.Sequential(nn.BatchNorm1d(3 * width), nn.Conv1d(3 * width, 3 * joints, 1))
        if schedule is not None and len(schedule.at) > 1:
            schedule.check(frames, depth)
            schedule = msgspec.structs.replace(schedule, at=(*schedule.at[:-1], depth - 1))
        self.hourglass = Hourglass(schedule, frames, depth, 3 * width, heads)

    def forward(self, x: Tensor, asked: slice | None = None) -> Tensor:
        if self.output == "centre":
            centre = self.shape[0] // 2
            asked = slice(centre, centre + 1)
        return self.hourglass.recover(*self.encode(x, asked), self.regress, asked)

    def encode(self, x: Tensor, asked: slice | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, 1, 3 D), hypotheses side by side, and the places (K,) or (B, K) of their frames."""
        expect_windows(x, self)
        rows = x.flatten(2).transpose(1, 2)  # (B, J * C_in, F): a trajectory per joint and coordinate
        first = rows + self.Transformer_encoder_1(self.norm_1(rows))
        second = first + self.Transformer_encoder_2(self.norm_2(first))
        third = second + self.Transformer_encoder_3(self.norm_3(second))
        kept = self.hourglass.entering
        first, second, third = (rows.index_select(2, kept) for rows in (first, second, third))
        streams = self.embedding_1(first), self.embedding_2(second), self.embedding_3(third)  # (B, D, K)
        tokens = self.Transformer_hypothesis.place([stream.transpose(1, 2) for stream in streams], kept)
        for i, block in enumerate(self.Transformer_hypothesis.blocks()):
            tokens, kept = self.hourglass.prune(i, tokens, kept, x, block.received)
            needed, kept = self.hourglass.narrow(i, kept, asked)
            tokens = block(tokens[:, :, 0], needed)[:, :, None]
        return self.Transformer_hypothesis.norm(tokens), kept

    def regress(self, tokens: Tensor) -> Tensor:
        """Poses (B, K, J, 3) from tokens (B, K, 1, 3 D)."""
        poses = self.regression(tokens[:, :, 0].transpose(1, 2))  # (B, J * 3, K)
        return poses.transpose(1, 2).unflatten(2, (-1, 3))


def embedding(rows: int, width: int, frames: int) -> nn.Module:
    """Each frame's J * C_in values to a token: (B, J * C_in, F) -> (B, D, F)."""
    linear = nn.Conv1d(rows, width, 1)
    if frames > 27:
        return linear
    # The released models for short windows embed otherwise.
    return nn.Sequential(linear, nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.25))


class TrajectoryEncoder(nn.Module):
    """Multi-hypothesis generation (MHG): the whole trajectory of each joint coordinate is one token."""

    def __init__(self, rows: int, frames: int, heads: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, frames))
        self.dropout = nn.Dropout(dropout)
        rates = drop_path_rates(drop_path, 4)
        self.blocks = nn.Sequential(*(Block(frames, heads, 2 * frames, rate, dropout) for rate in rates))
        self.norm = nn.LayerNorm(frames, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, J * C_in, F) -> (B, J * C_in, F)."""
        return self.norm(self.blocks(self.dropout(x + self.pos_embed)))


class Hypotheses(nn.Module):
    """The blocks over the frames of all three hypotheses, and where in time each frame is."""

    def __init__(
        self,
        frames: int,
        width: int,
        hidden: int,
        depth: int,
        heads: int,
        *,
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.pos_embed_1, self.pos_embed_2, self.pos_embed_3 = (
            nn.Parameter(torch.zeros(1, frames, width)) for _ in range(3)
        )
        self.dropout = nn.Dropout(dropout)
        *rates, last = drop_path_rates(drop_path, depth)
        self.SHR_blocks = module_list(SelfRefinement(width, heads, hidden, rate, dropout) for rate in rates)
        self.CHI_blocks = module_list([Interaction(width, heads, hidden, last, dropout)])
        self.norm = nn.LayerNorm(3 * width, eps=1e-6)

    def place(self, streams: list[Tensor], kept: Tensor) -> Tensor:
        """Three (B, K, D) -> (B, K, 1, 3 D), each with its embedding of the frames' places kept (K,)."""
        positions = self.pos_embed_1, self.pos_embed_2, self.pos_embed_3
        placed = [stream + position[:, kept] for stream, position in zip(streams, positions, strict=True)]
        return self.dropout(torch.cat(placed, dim=-1))[:, :, None]

    def blocks(self) -> list["SelfRefinement | Interaction"]:
        return [*self.SHR_blocks, *self.CHI_blocks]


class SelfRefinement(nn.Module):
    """Self-hypothesis refinement (SHR): each hypothesis attends to itself, one MLP sees all three."""

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float, dropout: float) -> None:
        super().__init__()
        self.norm1_1, self.norm1_2, self.norm1_3 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.attn_1, self.attn_2, self.attn_3 = (Attention(width, heads, True, dropout) for _ in range(3))
        self.norm2 = nn.LayerNorm(3 * width, eps=1e-6)
        self.mlp = Mlp(3 * width, hidden, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        """(B, K, 3 D) -> (B, K, 3 D), or of the frames at `asked` alone."""
        a, b, c = self._normed(x)
        refined = (self.attn_1(a, asked), self.attn_2(b, asked), self.attn_3(c, asked))
        x = x if asked is None else take(x, asked)
        x = x + torch.cat([self.drop_path(stream) for stream in refined], dim=-1)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def received(self, x: Tensor) -> Tensor:
        """How much attention each frame of x (B, K, 1, 3 D) would get here, (B, K): mean over hypotheses."""
        a, b, c = self._normed(x)
        return (self.attn_1.received(a) + self.attn_2.received(b) + self.attn_3.received(c)) / 3

    def _normed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, c = x.chunk(3, dim=-1)
        return self.norm1_1(a), self.norm1_2(b), self.norm1_3(c)


class Interaction(nn.Module):
    """Cross-hypothesis interaction (CHI): each hypothesis looks through the two others.

    They change one after the other: the second sees the new first, the third the new first and second.
    """

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float, dropout: float) -> None:
        super().__init__()
        self.norm3_11, self.norm3_12, self.norm3_13 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.norm3_21, self.norm3_22, self.norm3_23 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.norm3_31, self.norm3_32, self.norm3_33 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.attn_1, self.attn_2, self.attn_3 = (
            CrossAttention(width, heads, True, dropout) for _ in range(3)
        )
        self.norm2 = nn.LayerNorm(3 * width, eps=1e-6)
        self.mlp = Mlp(3 * width, hidden, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        """(B, K, 3 D) -> (B, K, 3 D), or of the frames at `asked` alone.

        The third hypothesis looks at all frames of the second, which looks at those of the first.
        """
        a, b, c = x.chunk(3, dim=-1)
        a = a + self.drop_path(self.attn_1(self.norm3_11(b), self.norm3_12(c), self.norm3_13(a)))
        b = b + self.drop_path(self.attn_2(self.norm3_21(a), self.norm3_22(c), self.norm3_23(b)))
        known, value = self.norm3_32(b), self.norm3_33(c)
        if asked is not None:
            a, b, c = take(a, asked), take(b, asked), take(c, asked)
        c = c + self.drop_path(self.attn_3(self.norm3_31(a), known, value))
        x = torch.cat((a, b, c), dim=-1)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def received(self, x: Tensor) -> Tensor:
        """How much attention each frame of x (B, K, 1, 3 D) would get here, (B, K): mean over hypotheses."""
        a, b, c = x[:, :, 0].chunk(3, dim=-1)
        first = self.attn_1.received(self.norm3_11(b), self.norm3_12(c))
        second = self.attn_2.received(self.norm3_21(a), self.norm3_22(c))
        third = self.attn_3.received(self.norm3_31(a), self.norm3_32(b))
        return (first + second + third) / 3
