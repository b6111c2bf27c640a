"""seq2seq and seq2frame (section 3.3), the flip average, and the windows that papers evaluate on.

seq2seq: one pass gives the poses of all frames. seq2frame: one pass gives the pose of the centre
frame, so every frame needs its own window. x is the network's input (B, F, J, C); poses are
root-relative, in metres.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lifter.layers import Mirror
from stream.errors import ConfigError

Model = Callable[[Tensor], Tensor]
Placement = Literal["centred", "last", "every"]


def seq2seq(model: Callable[..., Tensor], x: Tensor, rows: slice | None = None) -> Tensor:
    """Poses of all frames (B, F, J, 3), or of `rows` alone.

    rows: start and stop set; the model must accept `rows=`. Raises ConfigError when the model gives
    poses of fewer frames than x has.
    """
    if rows is not None:
        return model(x, rows=rows)
    poses = model(x)
    if poses.shape[1] != x.shape[1]:
        raise ConfigError(
            f"seq2seq: expected poses of all {x.shape[1]} frames, the model gives {poses.shape[1]}; "
            "it needs a schedule with recoverer 'tri' or 'tra'"
        )
    return poses


def seq2frame(model: Model, x: Tensor) -> Tensor:
    """Pose (B, 1, J, 3) of the centre frame, F // 2 counted from 0.

    Raises ConfigError when the model gives poses of neither one frame nor all.
    """
    poses = model(x)
    if poses.shape[1] == 1:
        return poses
    if poses.shape[1] != x.shape[1]:
        raise ConfigError(
            f"seq2frame: expected the pose of the centre or of all {x.shape[1]} frames, the model gives "
            f"{poses.shape[1]}; it needs a schedule with recoverer 'centre'"
        )
    centre = x.shape[1] // 2
    return poses[:, centre : centre + 1]


class FlipAverage(nn.Module):
    """Averages a model's poses with the mirrored poses of the mirrored input (test-time flip).

    Mirroring negates x and swaps left and right joints, so x = 0 must be the middle of the image.
    """

    def __init__(self, model: Model, skeleton: str = "h36m17") -> None:
        super().__init__()
        self.model, self.mirror = model, Mirror(skeleton)

    def forward(self, x: Tensor) -> Tensor:
        mirrored: Tensor = self.mirror(self.model(self.mirror(x)))
        return (self.model(x) + mirrored) / 2


def window_bounds(length: int, frames: int, placement: Placement) -> NDArray[np.int64]:
    """First frame and end (N, 2) of the windows of `frames` that evaluate a video of `length` frames.

    placement:
    "centred": side by side, centred on the video, beyond both of its ends (HoT, H2OT).
    "last": side by side from the start; the last window ends with the video (MixSTE). A shorter
    video fills the start of one window.
    "every": one window around every frame (seq2frame).
    Frames outside the video repeat its first or last frame (see `cut_windows`).
    """
    if length < 1 or frames < 1:
        raise ConfigError(f"windows: expected at least one frame, got length {length} and frames {frames}")
    if placement == "every":
        start = np.arange(length) - frames // 2
    elif placement == "last":
        start = np.minimum(np.arange(0, length, frames), max(0, length - frames))
    elif placement == "centred":
        count = -(-length // frames)
        start = np.arange(count) * frames - (count * frames - length) // 2
    else:
        raise ConfigError(f"windows: expected centred, last or every, got {placement!r}")
    return np.stack([start, start + frames], axis=1)


def cut_windows(video: NDArray[Any], bounds: NDArray[np.int64]) -> NDArray[Any]:
    """Windows (N, F, ...) of a video (L, ...); frames outside repeat the nearest end."""
    frames = bounds[:, :1] + np.arange(bounds[0, 1] - bounds[0, 0])
    windows: NDArray[Any] = video[frames.clip(0, len(video) - 1)]
    return windows


def merge_windows(windows: NDArray[Any], bounds: NDArray[np.int64], length: int) -> NDArray[Any]:
    """A video (L, ...) from windows (N, F, ...); where two overlap, the later window counts.

    Windows of one frame (N, 1, ...), one per frame of the video, are concatenated.
    """
    if windows.shape[1] == 1:
        return windows[:, 0]
    video = np.empty((length, *windows.shape[2:]), dtype=windows.dtype)
    for window, (start, end) in zip(windows, bounds, strict=True):
        first, last = max(start, 0), min(end, length)
        video[first:last] = window[first - start : last - start]
    return video
