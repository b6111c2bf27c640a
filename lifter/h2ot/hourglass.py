"""Prune and recover around the blocks of any pose transformer (section 3).

An architecture holds one `Hourglass`. It calls `prune` before each block, which does nothing at blocks
without a stage, and ends with `recover`:

    frame_indices = self.hourglass.input_frames
    tokens = self.embed(take(x, frame_indices))
    for i, block in enumerate(self.blocks):
        tokens, frame_indices = self.hourglass.prune(i, tokens, frame_indices, x, block.attention_received)
        query_index, frame_indices = self.hourglass.output_tokens(i, frame_indices, rows)
        tokens = block(tokens, query_index)
    return self.hourglass.recover(tokens, frame_indices, self.head, rows)

Work that does not reach the requested poses is skipped: frames that a sampler drops before block 0
are never embedded, and the last block computes only the tokens that the requested rows depend on.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lifter.h2ot.prune import TPA, TPC, TPS, Indices, Pruner, PruningInput, TPMo
from lifter.h2ot.recover import TRA, TRI, CentreFrame, Head, NoRecovery, Recoverer, TokenTRI
from lifter.layers import module_list, take
from lifter.spec import Schedule
from stream.errors import ConfigError

PRUNERS: dict[str, Callable[..., Pruner]] = {"tps": TPS, "tpc": TPC, "tpa": TPA, "tpmo": TPMo}


class Hourglass(nn.Module):
    """The pruning stages and the recovery of one schedule; without a schedule every frame stays.

    The pruners and TRI add no parameters. TRA adds learnable tokens (1, F, D), one cross-attention and, as
    in the HoT release, a position embedding (1, r, D) for the frames kept at each stage.

    schedule: stages and recoverer, or None. frames F, depth L, width D and heads are those of the
    network. Raises ConfigError unless the schedule fits F and L.
    """

    every_frame: Tensor  # (F,) int64
    skip_unneeded: bool = True  # False computes every token, as the paper counts: same poses, more work

    def __init__(
        self,
        schedule: Schedule | None,
        frames: int,
        depth: int,
        width: int,
        heads: int = 8,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        if frames < 1 or depth < 1:
            raise ConfigError(f"expected at least one frame and one block, got {frames} and {depth}")
        self.register_buffer("every_frame", torch.arange(frames), persistent=False)
        self.last_block = depth - 1
        self.at: tuple[int, ...] = ()
        self.pruners: list[Pruner] = module_list(())
        self.positions = nn.ParameterList()
        self.recoverer: Recoverer = NoRecovery()
        if schedule is None:
            return
        schedule.check(frames, depth)
        self.at = schedule.at
        # Without recovery of all frames, the centre frame must survive every stage.
        centre = frames // 2 if schedule.recoverer in ("centre", "none") else None
        fixed_frames: Indices | None = np.arange(frames)
        for keep in schedule.keep:
            pruner = PRUNERS[schedule.pruner](keep, fixed_frames, centre)
            self.pruners.append(pruner)
            fixed_frames = pruner.fixed_frames
        if schedule.recoverer == "tri":
            self.recoverer = TRI(frames, fixed_frames)
        elif schedule.recoverer == "tri-tokens":
            self.recoverer = TokenTRI(frames, fixed_frames)
        elif schedule.recoverer == "centre":
            self.recoverer = CentreFrame(frames // 2)
        elif schedule.recoverer == "none":
            self.recoverer = NoRecovery(frames // 2)
        elif schedule.recoverer == "tra":
            self.recoverer = TRA(frames, width, heads, qkv_bias)
            self.positions.extend(nn.Parameter(torch.zeros(1, keep, width)) for keep in schedule.keep)

    @property
    def input_frames(self) -> Tensor:
        """Window positions (K,) int64 of the frames that the network has to embed."""
        sampler = self.pruners[0] if self.samples_input else None
        return sampler.index if isinstance(sampler, TPS) else self.every_frame

    @property
    def samples_input(self) -> bool:
        """Whether the first stage is TPS at block 0: the frames it drops need not be embedded."""
        return self.skip_unneeded and self.at[:1] == (0,) and isinstance(self.pruners[0], TPS)

    def prune(
        self,
        block: int,
        tokens: Tensor,
        frame_indices: Tensor,
        x: Tensor,
        attention: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Apply the stage at `block`, if there is one.

        tokens (B, K, J, D); frame_indices (K,) or (B, K), their positions in the window;
        x (B, F, J, C) the network's input, x and y first; attention(tokens) -> (B, K) the attention
        each frame receives in this block (called by TPA alone).
        Returns tokens (B, r, J, D) and their frame_indices (r,) or (B, r).
        """
        if block not in self.at:
            return tokens, frame_indices
        stage = self.at.index(block)
        if stage > 0 or not self.samples_input:
            state = PruningInput(tokens, take(x, frame_indices), frame_indices, attention)
            index = self.pruners[stage](state)
            tokens, frame_indices = take(tokens, index), take(frame_indices, index)
        if self.positions:
            tokens = tokens + self.positions[stage][:, :, None]
        return tokens, frame_indices

    def output_tokens(
        self, block: int, frame_indices: Tensor, rows: slice | None
    ) -> tuple[Tensor | None, Tensor]:
        """Which tokens `block` has to compute, and the window positions of those tokens.

        Positions are (n,) or (B, n) int64 among the frames alive, or None for all of them. Only the
        last block can leave tokens out, and only at inference: training computes all, as the paper
        does. rows: the part of the window requested, None for all.
        """
        if block < self.last_block or self.training or not self.skip_unneeded:
            return None, frame_indices
        needed = self.recoverer.tokens_needed(frame_indices, rows)
        return needed, frame_indices if needed is None else take(frame_indices, needed)

    def recover(self, tokens: Tensor, frame_indices: Tensor, head: Head, rows: slice | None = None) -> Tensor:
        """Poses (B, F, J, 3), or of `rows` alone, from tokens (B, K, J, D) and the regression head."""
        poses: Tensor = self.recoverer(tokens, frame_indices, head, rows)
        return poses
