"""VideoPose3D's temporal convolutional network, the baseline that reports compare lifters with."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lifter.layers import LiftingNetwork
from lifter.spec import Schedule
from stream.errors import ConfigError


class TCN(LiftingNetwork):
    """Lifts 2D keypoints (B, T, J, C) float32 to poses (B, T, J, 3) float32, T of any length.

    Block i has a convolution over three frames, 3**i apart, and one over channels, with a residual
    connection around both; `depth` blocks see 3**(depth + 1) frames. The first and the last frame of a
    window are repeated beyond its ends. Training can use short windows, since no weight depends on T.
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
        self.enter = _TemporalConvolution(joints * in_channels, width, 1, dropout)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _TemporalConvolution(width, width, 3**i, dropout),
                _TemporalConvolution(width, width, 0, dropout),
            )
            for i in range(1, depth + 1)
        )
        self.head = nn.Conv1d(width, 3 * joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        B, T, J, _ = x.shape
        tokens = self.enter(x.flatten(2).transpose(1, 2))  # (B, D, T)
        for block in self.blocks:
            tokens = tokens + block(tokens)
        poses: Tensor = self.head(tokens).transpose(1, 2).reshape(B, T, J, 3)
        return poses


class _TemporalConvolution(nn.Module):
    """Convolution of (B, D, T) over three frames `step` frames apart; step 0 mixes channels alone."""

    def __init__(self, width_in: int, width: int, step: int, dropout: float) -> None:
        super().__init__()
        self.step = step
        self.conv = nn.Conv1d(width_in, width, 3 if step else 1, dilation=max(1, step), bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (self.step, self.step), mode="replicate")
        output: Tensor = self.dropout(torch.relu(self.norm(self.conv(x))))
        return output
