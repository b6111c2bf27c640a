"""The framework that any architecture plugs into: prune on the way in, recover on the way out (section 3).

An architecture holds one `Hourglass`, calls `prune` where a stage may sit (it does nothing at blocks
without one) and ends with `recover`:

    kept = self.hourglass.every_frame
    for i, block in enumerate(self.blocks):
        tokens, kept = self.hourglass.prune(i, tokens, kept, x, attention)
        tokens = block(tokens)
    return self.hourglass.recover(tokens, kept, self.head)
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lifter.prune import TPS, Clues, take
from lifter.recover import TRI, Head, Kept
from lifter.spec import Schedule

PRUNERS: dict[str, type[nn.Module]] = {"tps": TPS}


class Hourglass(nn.Module):
    """Stages of pruning and one recovery, as a schedule says; without a schedule every frame stays.

    It has no parameters with TPS and TRI.
    """

    every_frame: Tensor  # (F,) int64

    def __init__(self, schedule: Schedule | None, frames: int, depth: int, width: int) -> None:
        super().__init__()
        self.frames = frames
        self.register_buffer("every_frame", torch.arange(frames), persistent=False)
        self.at = () if schedule is None else schedule.at
        self.pruners = nn.ModuleList()
        self.recoverer: nn.Module = Kept()
        if schedule is None:
            return
        schedule.check(frames, depth)
        alive = (frames, *schedule.keep[:-1])
        self.pruners.extend(PRUNERS[schedule.pruner](n, r) for n, r in zip(alive, schedule.keep, strict=True))
        if schedule.recoverer == "tri":
            self.recoverer = TRI(frames, self._known())

    def prune(
        self, block: int, tokens: Tensor, kept: Tensor, x: Tensor, attention: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, r, J, D) and their places in the window after the stage at `block`, if there is one.

        tokens (B, K, J, D); kept (K,) or (B, K); x (B, F, J, C) the network's input; attention() -> (B, K)
        how much attention each frame gets in this block (asked only by TPA).
        """
        if block not in self.at:
            return tokens, kept
        stage = self.at.index(block)
        index = self.pruners[stage](Clues(tokens, take(x, kept), kept, attention))
        return take(tokens, index), take(kept, index)

    def recover(self, tokens: Tensor, kept: Tensor, head: Head) -> Tensor:
        """Poses (B, F, J, 3) from the tokens (B, K, J, D) of the last block."""
        return self.recoverer(tokens, kept, head)

    def _known(self) -> Tensor | None:
        """Places of the kept frames where they do not depend on the input."""
        kept = self.every_frame
        for pruner in self.pruners:
            if not isinstance(pruner, TPS):
                return None
            kept = kept[pruner.index]
        return kept
