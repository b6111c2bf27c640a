"""The framework that any architecture plugs into: prune on the way in, recover on the way out (section 3).

An architecture holds one `Hourglass`, calls `prune` where a stage may sit (it does nothing at blocks
without one) and ends with `recover`:

    kept = self.hourglass.every_frame
    for i, block in enumerate(self.blocks):
        tokens, kept = self.hourglass.prune(i, tokens, kept, x, block.received)
        tokens = block(tokens)
    return self.hourglass.recover(tokens, kept, self.head)
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lifter.prune import TPA, TPC, TPS, Clues, TPMo, take
from lifter.recover import TRA, TRI, Centre, Head, Kept
from lifter.spec import Schedule
from stream.errors import ConfigError

PRUNERS: dict[str, Callable[..., Any]] = {"tps": TPS, "tpc": TPC, "tpa": TPA, "tpmo": TPMo}


class Hourglass(nn.Module):
    """Stages of pruning and one recovery, as a schedule says; without a schedule every frame stays.

    TPS and TRI add no parameters. TRA adds learnable tokens, an attention and, as released (HoT),
    a position embedding for the frames kept at each stage.
    """

    every_frame: Tensor  # (F,) int64

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
        elif schedule.recoverer == "tra":
            self.recoverer = TRA(frames, width, heads, qkv_bias)
            self.positions.extend(nn.Parameter(torch.zeros(1, keep, width)) for keep in schedule.keep)

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
        index = self.pruners[stage](Clues(tokens, take(x, kept), kept, attention))
        tokens, kept = take(tokens, index), take(kept, index)
        if self.positions:
            tokens = tokens + self.positions[stage][:, :, None]
        return tokens, kept

    def recover(self, tokens: Tensor, kept: Tensor, head: Head) -> Tensor:
        """Poses (B, F, J, 3) from the tokens (B, K, J, D) of the last block and the regression head."""
        return self.recoverer(tokens, kept, head)

    def centre(self, poses: Tensor, kept: Tensor) -> Tensor:
        """Pose (B, 1, J, 3) of frame F // 2, from the poses of one, of all or of the kept frames."""
        if poses.shape[1] == 1:
            return poses
        places = self.every_frame if poses.shape[1] == len(self.every_frame) else kept
        return take(poses, (places < len(self.every_frame) // 2).sum(dim=-1, keepdim=True))
