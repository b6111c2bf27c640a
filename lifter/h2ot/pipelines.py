"""The two ways a model answers (section 3.3), the flip average, and the windows papers evaluate on.

seq2seq: one pass gives the poses of all frames. seq2frame: one pass gives the pose of the centre
frame, so every frame needs a window of its own. x is the network's input (B, F, J, C), root-relative
poses come in metres.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lifter.layers import Mirror
from stream.errors import ConfigError

Model = Callable[[Tensor], Tensor]
Way = Literal["centred", "last", "every"]


def seq2seq(model: Callable[..., Tensor], x: Tensor, asked: slice | None = None) -> Tensor:
    """Poses of all frames (B, F, J, 3), or of the rows asked for, of a model that can be asked."""
    if asked is not None:
        return model(x, asked=asked)
    poses = model(x)
    if poses.shape[1] != x.shape[1]:
        raise ConfigError(
            f"seq2seq: expected poses of all {x.shape[1]} frames, the model gives {poses.shape[1]}; "
            "it needs a schedule with recoverer 'tri' or 'tra'"
        )
    return poses


def seq2frame(model: Model, x: Tensor) -> Tensor:
    """Pose of the centre frame (B, 1, J, 3): of frame F // 2, counted from 0."""
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
    """A model whose answer is averaged with the mirrored answer to the mirrored input.

    Mirroring negates x and exchanges left and right; so x = 0 must be the middle of the image.
    """

    def __init__(self, model: Model, skeleton: str = "h36m17") -> None:
        super().__init__()
        self.model, self.mirror = model, Mirror(skeleton)

    def forward(self, x: Tensor) -> Tensor:
        return (self.model(x) + self.mirror(self.model(self.mirror(x)))) / 2


def windows(length: int, frames: int, way: Way) -> NDArray[np.int64]:
    """First frame and end (N, 2) of the windows of `frames` that evaluate a video of `length` frames.

    "centred": side by side, centred on the video, hanging over at both ends (HoT, H2OT).
    "last": side by side from the start, the last one holding the last frames (MixSTE); a shorter
    video fills the start of one window. "every": one around every frame (seq2frame).
    Frames outside the video repeat its first or last one (see `cut`).
    """
    if length < 1 or frames < 1:
        raise ConfigError(f"windows: expected at least one frame, got length {length} and frames {frames}")
    if way == "every":
        start = np.arange(length) - frames // 2
    elif way == "last":
        start = np.minimum(np.arange(0, length, frames), max(0, length - frames))
    elif way == "centred":
        number = -(-length // frames)
        start = np.arange(number) * frames - (number * frames - length) // 2
    else:
        raise ConfigError(f"windows: expected centred, last or every, got {way!r}")
    return np.stack([start, start + frames], axis=1)


def cut(video: NDArray, bounds: NDArray[np.int64]) -> NDArray:
    """Windows (N, F, ...) of a video (L, ...); its ends are repeated outside."""
    frames = bounds[:, :1] + np.arange(bounds[0, 1] - bounds[0, 0])
    return video[frames.clip(0, len(video) - 1)]


def merge(answers: NDArray, bounds: NDArray[np.int64], length: int) -> NDArray:
    """A video (L, ...) of the answers (N, F, ...) to its windows; where two overlap the later one counts.

    Answers (N, 1, ...) to windows around every frame are taken as they come.
    """
    if answers.shape[1] == 1:
        return answers[:, 0]
    video = np.empty((length, *answers.shape[2:]), dtype=answers.dtype)
    for answer, (start, end) in zip(answers, bounds, strict=True):
        first, last = max(start, 0), min(end, length)
        video[first:last] = answer[first - start : last - start]
    return video
