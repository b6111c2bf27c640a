"""A network to compare lifters with: dilated convolutions over time (VideoPose3D), on the same data."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifter.spec import Schedule
from stream.errors import ConfigError


class TCN(nn.Module):
    """Lifts 2D keypoints (B, F, J, C_in) float32 to poses (B, F, J, 3) float32, one per frame.

    Each block has a convolution over three frames, 3**i apart, and one over channels, around which
    there is a residual connection; `depth` of them see 3**(depth + 1) frames. Beyond a window's ends its
    first and last frame are repeated. It takes windows of any length, so it trains on short ones as it is.
    """

    any_length = True

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        in_channels: int = 2,
        width: int = 1024,
        depth: int = 4,
        dropout: float = 0.05,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        if schedule is not None:
            raise ConfigError("tcn: expected no schedule; convolutions over time cannot prune frames")
        self.shape = (frames, joints, in_channels)
        self.enter = _Layer(joints * in_channels, width, 1, dropout)
        self.blocks = nn.ModuleList(
            nn.Sequential(_Layer(width, width, 3**i, dropout), _Layer(width, width, 0, dropout))
            for i in range(1, depth + 1)
        )
        self.head = nn.Conv1d(width, 3 * joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        B, F, J, _ = x.shape
        tokens = self.enter(x.flatten(2).transpose(1, 2))  # (B, D, F)
        for block in self.blocks:
            tokens = tokens + block(tokens)
        return self.head(tokens).transpose(1, 2).reshape(B, F, J, 3)


class _Layer(nn.Module):
    """A convolution over three frames `apart` frames from each other (over one, if 0) of (B, D, F)."""

    def __init__(self, wide: int, width: int, apart: int, dropout: float) -> None:
        super().__init__()
        self.apart = apart
        self.conv = nn.Conv1d(wide, width, 3 if apart else 1, dilation=max(1, apart), bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (self.apart, self.apart), mode="replicate")
        return self.dropout(torch.relu(self.norm(self.conv(x))))
