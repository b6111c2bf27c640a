"""MHFormer: three hypotheses of the window, refined in parallel, then merged into one pose (seq2frame)."""

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
    LiftingNetwork,
    Mlp,
    check_windows,
    drop_path_rates,
    module_list,
    take,
)
from lifter.spec import Schedule
from stream.errors import ConfigError


class MHFormer(LiftingNetwork):
    """Lifts 2D keypoints (B, F, J, C) float32 to the centre frame's pose (B, 1, J, 3) float32 in metres.

    So a pose comes (F - 1) / 2 frames after its image: 3.5 s for 351 frames at 50 Hz.
    output="sequence" returns all frames (with recoverer "none" the kept frames), although only the
    centre frame is trained.

    Blocks 0 to L - 2 refine the hypotheses (SHR); the last one lets them interact (CHI). A prune at
    block b sits before block b. Of several stages the last always sits before CHI: that is what b = [0, 1]
    means in the paper (Table 7: 175, 175, 117 tokens). HoT's single stage at 1 stays at 1.
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
        self.Transformer_hypothesis = HypothesisTransformer(frames, width, hidden, depth, heads, **rest)
        self.regression = nn.Sequential(nn.BatchNorm1d(3 * width), nn.Conv1d(3 * width, 3 * joints, 1))
        if schedule is not None and len(schedule.at) > 1:
            schedule.check(frames, depth)
            schedule = msgspec.structs.replace(schedule, at=(*schedule.at[:-1], depth - 1))
        self.hourglass = Hourglass(schedule, frames, depth, 3 * width, heads)

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """Pose (B, 1, J, 3) of the centre frame; with output="sequence" of all frames, or of `rows`."""
        if self.output == "centre":
            centre = self.shape[0] // 2
            rows = slice(centre, centre + 1)
        return self.hourglass.recover(*self.encode(x, rows), self.regress, rows)

    def encode(self, x: Tensor, rows: slice | None = None) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, 1, 3 D), hypotheses concatenated, and their window positions (K,) or (B, K)."""
        check_windows(x, self)
        series = x.flatten(2).transpose(1, 2)  # (B, J * C, F): the trajectory of each joint coordinate
        first = series + self.Transformer_encoder_1(self.norm_1(series))
        second = first + self.Transformer_encoder_2(self.norm_2(first))
        third = second + self.Transformer_encoder_3(self.norm_3(second))
        frame_indices = self.hourglass.input_frames
        first, second, third = (part.index_select(2, frame_indices) for part in (first, second, third))
        streams = self.embedding_1(first), self.embedding_2(second), self.embedding_3(third)  # (B, D, K)
        tokens = self.Transformer_hypothesis.embed_time(
            [stream.transpose(1, 2) for stream in streams], frame_indices
        )
        for i, block in enumerate(self.Transformer_hypothesis.blocks()):
            tokens, frame_indices = self.hourglass.prune(
                i, tokens, frame_indices, x, block.attention_received
            )
            query_index, frame_indices = self.hourglass.output_tokens(i, frame_indices, rows)
            tokens = block(tokens[:, :, 0], query_index)[:, :, None]
        return self.Transformer_hypothesis.norm(tokens), frame_indices

    def regress(self, tokens: Tensor) -> Tensor:
        """Poses (B, K, J, 3) from tokens (B, K, 1, 3 D)."""
        flat: Tensor = self.regression(tokens[:, :, 0].transpose(1, 2))  # (B, J * 3, K)
        return torch.unflatten(flat.transpose(1, 2), 2, (-1, 3))


def embedding(rows: int, width: int, frames: int) -> nn.Module:
    """Turns the J * C values of each frame into a token: (B, J * C, K) -> (B, D, K)."""
    linear = nn.Conv1d(rows, width, 1)
    if frames > 27:
        return linear
    # The released models for short windows have three more layers.
    return nn.Sequential(linear, nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.25))


class TrajectoryEncoder(nn.Module):
    """Multi-hypothesis generation (MHG): one token is the whole trajectory of one joint coordinate."""

    def __init__(self, rows: int, frames: int, heads: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, frames))
        self.dropout = nn.Dropout(dropout)
        rates = drop_path_rates(drop_path, 4)
        self.blocks = nn.Sequential(*(Block(frames, heads, 2 * frames, rate, dropout) for rate in rates))
        self.norm = nn.LayerNorm(frames, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, J * C, F) -> (B, J * C, F)."""
        encoded: Tensor = self.norm(self.blocks(self.dropout(x + self.pos_embed)))
        return encoded


class HypothesisTransformer(nn.Module):
    """The time embeddings of the three hypotheses, and the blocks over their frames."""

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

    def embed_time(self, streams: list[Tensor], frame_indices: Tensor) -> Tensor:
        """Add a time embedding per stream, for window positions (K,): three (B, K, D) -> (B, K, 1, 3 D)."""
        embeddings = self.pos_embed_1, self.pos_embed_2, self.pos_embed_3
        embedded = [
            stream + embedding[:, frame_indices]
            for stream, embedding in zip(streams, embeddings, strict=True)
        ]
        tokens: Tensor = self.dropout(torch.cat(embedded, dim=-1))
        return tokens[:, :, None]

    def blocks(self) -> list["SelfRefinement | Interaction"]:
        """The L blocks, in order."""
        return [*self.SHR_blocks, *self.CHI_blocks]


class SelfRefinement(nn.Module):
    """Self-hypothesis refinement (SHR): attention inside each hypothesis, then one MLP over all three."""

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float, dropout: float) -> None:
        super().__init__()
        self.norm1_1, self.norm1_2, self.norm1_3 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.attn_1, self.attn_2, self.attn_3 = (Attention(width, heads, True, dropout) for _ in range(3))
        self.norm2 = nn.LayerNorm(3 * width, eps=1e-6)
        self.mlp = Mlp(3 * width, hidden, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, query_index: Tensor | None = None) -> Tensor:
        """(B, K, 3 D) -> (B, K, 3 D), or the frames at query_index (n,) or (B, n) alone."""
        a, b, c = self._normed(x)
        refined = (self.attn_1(a, query_index), self.attn_2(b, query_index), self.attn_3(c, query_index))
        x = x if query_index is None else take(x, query_index)
        x = x + torch.cat([self.drop_path(stream) for stream in refined], dim=-1)
        output: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return output

    def attention_received(self, x: Tensor) -> Tensor:
        """Attention (B, K) that each frame of x (B, K, 1, 3 D) would receive: mean over hypotheses."""
        a, b, c = self._normed(x)
        return (
            self.attn_1.attention_received(a)
            + self.attn_2.attention_received(b)
            + self.attn_3.attention_received(c)
        ) / 3

    def _normed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, c = x.chunk(3, dim=-1)
        return self.norm1_1(a), self.norm1_2(b), self.norm1_3(c)


class Interaction(nn.Module):
    """Cross-hypothesis interaction (CHI): each hypothesis is updated from the two others.

    The updates run in order: the second reads the new first, the third the new first and second.
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

    def forward(self, x: Tensor, query_index: Tensor | None = None) -> Tensor:
        """(B, K, 3 D) -> (B, K, 3 D), or the frames at query_index (n,) or (B, n) alone.

        Only the last attention can leave frames out: it reads all frames of the second hypothesis,
        which read all frames of the first.
        """
        a, b, c = x.chunk(3, dim=-1)
        a = a + self.drop_path(self.attn_1(self.norm3_11(b), self.norm3_12(c), self.norm3_13(a)))
        b = b + self.drop_path(self.attn_2(self.norm3_21(a), self.norm3_22(c), self.norm3_23(b)))
        keys, values = self.norm3_32(b), self.norm3_33(c)
        if query_index is not None:
            a, b, c = take(a, query_index), take(b, query_index), take(c, query_index)
        c = c + self.drop_path(self.attn_3(self.norm3_31(a), keys, values))
        x = torch.cat((a, b, c), dim=-1)
        output: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return output

    def attention_received(self, x: Tensor) -> Tensor:
        """Attention (B, K) that each frame of x (B, K, 1, 3 D) would receive: mean over hypotheses."""
        a, b, c = x[:, :, 0].chunk(3, dim=-1)
        first = self.attn_1.attention_received(self.norm3_11(b), self.norm3_12(c))
        second = self.attn_2.attention_received(self.norm3_21(a), self.norm3_22(c))
        third = self.attn_3.attention_received(self.norm3_31(a), self.norm3_32(b))
        return (first + second + third) / 3
