"""The framework that any architecture plugs into: prune on the way in, recover on the way out (section 3).

An architecture holds one `Hourglass`, calls `prune` where a stage may sit (it does nothing at blocks
without one) and ends with `recover`:

    kept = self.hourglass.entering
    tokens = self.embed(take(x, kept))
    for i, block in enumerate(self.blocks):
        tokens, kept = self.hourglass.prune(i, tokens, kept, x, block.received)
        needed, kept = self.hourglass.narrow(i, kept, asked)
        tokens = block(tokens, needed)
    return self.hourglass.recover(tokens, kept, self.head, asked)

Nothing is computed that the answer is not made of. Frames that a sampler drops before the first block
never enter; from the last block only those tokens come out that the poses `asked` for are made of.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lifter.h2ot.prune import TPA, TPC, TPS, Clues, TPMo
from lifter.h2ot.recover import TRA, TRI, Centre, Head, Kept
from lifter.layers import take
from lifter.spec import Schedule
from stream.errors import ConfigError

PRUNERS: dict[str, Callable[..., Any]] = {"tps": TPS, "tpc": TPC, "tpa": TPA, "tpmo": TPMo}


class Hourglass(nn.Module):
    """Stages of pruning and one recovery, as a schedule says; without a schedule every frame stays.

    TPS and TRI add no parameters. TRA adds learnable tokens, an attention and, as released (HoT),
    a position embedding for the frames kept at each stage.
    """

    every_frame: Tensor  # (F,) int64
    frugal: bool = True  # False computes as the paper writes it down, the same poses for more work

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
        self.last = depth - 1
        self.at: tuple[int, ...] = ()
        self.pruners, self.positions = nn.ModuleList(), nn.ParameterList()
        self.recoverer: nn.Module = Kept()
        if schedule is None:
            return
        schedule.check(frames, depth)
        self.at = schedule.at
        centre = frames // 2 if schedule.recoverer in ("centre", "none") else None
        places: np.ndarray | None = np.arange(frames)  # of the frames alive, where known beforehand
        for keep in schedule.keep:
            pruner = PRUNERS[schedule.pruner](keep, places, centre)
            self.pruners.append(pruner)
            places = pruner.places
        if schedule.recoverer == "tri":
            self.recoverer = TRI(frames, places)
        elif schedule.recoverer == "centre":
            self.recoverer = Centre(frames // 2)
        elif schedule.recoverer == "none":
            self.recoverer = Kept(frames // 2)
        elif schedule.recoverer == "tra":
            self.recoverer = TRA(frames, width, heads, qkv_bias)
            self.positions.extend(nn.Parameter(torch.zeros(1, keep, width)) for keep in schedule.keep)

    @property
    def entering(self) -> Tensor:
        """Places (K,) in the window of the frames that must be looked at."""
        if self.samples_first:
            return self.pruners[0].index  # type: ignore[return-value]
        return self.every_frame

    @property
    def samples_first(self) -> bool:
        """Whether the first prune is known before any block, so that what it drops need not enter."""
        return self.frugal and self.at[:1] == (0,) and isinstance(self.pruners[0], TPS)

    def prune(
        self, block: int, tokens: Tensor, kept: Tensor, x: Tensor, attention: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, r, J, D) and their places in the window after the stage at `block`, if there is one.

        tokens (B, K, J, D); kept (K,) or (B, K); x (B, F, J, C) the network's input, x and y first;
        attention(tokens) -> (B, K) how much attention each frame gets in this block (asked only by TPA).
        """
        if block not in self.at:
            return tokens, kept
        stage = self.at.index(block)
        if stage > 0 or not self.samples_first:
            index = self.pruners[stage](Clues(tokens, take(x, kept), kept, attention))
            tokens, kept = take(tokens, index), take(kept, index)
        if self.positions:
            tokens = tokens + self.positions[stage][:, :, None]
        return tokens, kept

    def narrow(self, block: int, kept: Tensor, asked: slice | None) -> tuple[Tensor | None, Tensor]:
        """Which tokens must leave `block`, positions (n,) or (B, n) or None for all, and their places.

        asked: rows of the window, None for all. In training all tokens leave, as they were meant to learn.
        """
        if block < self.last or self.training or not self.frugal:
            return None, kept
        needed = self.recoverer.needs(kept, asked)  # type: ignore[operator]
        return needed, kept if needed is None else take(kept, needed)

    def recover(self, tokens: Tensor, kept: Tensor, head: Head, asked: slice | None = None) -> Tensor:
        """Poses (B, F, J, 3), or of the rows asked for, from tokens (B, K, J, D) and the regression head."""
        return self.recoverer(tokens, kept, head, asked)
