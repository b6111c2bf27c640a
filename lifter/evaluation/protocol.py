"""Evaluation protocols: which windows of a video are lifted, which of their frames are scored, and how.

"paper" repeats the evaluation code of the releases, model by model, so that a released checkpoint gets the
figure that its paper prints. "ours" scores every frame of every video once, as a user of the poses sees them.

|                  | paper                                                                | ours        |
|------------------|----------------------------------------------------------------------|-------------|
| windows          | HoT, H2OT: side by side, centred; MixSTE, D3DP, DiffPose: the last   | centred     |
|                  | window ends with the video; MotionBERT, MotionAGFormer: whole ones   |             |
| frames twice     | scored twice (padding, the overlap of the last two windows)          | scored once |
| root             | the predicted root is set to 0, the other joints stay                | subtracted  |
| flip             | the mirrored pass keeps the frames of the straight pass              | chooses     |
| left out         | three mislabelled videos of S9 (MotionBERT, MotionAGFormer)          | none        |
| PCK, AUC of 3DHP | 14 joints: no pelvis, spine, nose                                    | all joints  |
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lifter.h2ot import pipelines
from lifter.h2ot.prune import TopK
from lifter.spec import LifterSpec
from stream.errors import ConfigError

Dataset = Literal["h36m", "mpi3dhp", "motionbert", "other"]
ProtocolName = Literal["paper", "ours"]
WindowPlacement = Literal["centred", "last", "whole"]
Indices = NDArray[np.int64]

MISLABELLED_VIDEOS = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")
# Human3.6M's joints that the official script of MPI-INF-3DHP scores.
PCK_JOINTS_3DHP = (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16)
_WHOLE_WINDOWS = ("motionbert", "motionagformer")


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a video is cut and scored.

    windows: of seq2seq. repeats_scored: frames that occur in several places of the windows are scored in
    every place. root_set_to_zero: False subtracts the predicted root from all joints. flip_keeps_frames:
    the mirrored pass keeps the frames that the straight pass kept. left_out: beginnings of names of videos.
    pck_joints: joints of PCK and AUC, None for all that have a truth.
    """

    windows: WindowPlacement = "centred"
    repeats_scored: bool = False
    root_set_to_zero: bool = False
    flip_keeps_frames: bool = False
    left_out: tuple[str, ...] = ()
    pck_joints: tuple[int, ...] | None = None

    def scores(self, video: str) -> bool:
        """Whether the protocol scores a video of this name."""
        return not (self.left_out and video.startswith(self.left_out))

    def place_windows(self, length: int, frames: int) -> tuple[Indices, NDArray[np.bool_]]:
        """Frame numbers (N, F) of the windows of a video of `length` frames, and whether each is scored."""
        if self.windows == "whole":
            return _whole_windows(length, frames)
        bounds = pipelines.window_bounds(length, frames, self.windows)
        positions = bounds[:, :1] + np.arange(frames)
        scored = np.ones(positions.shape, dtype=bool)
        if not self.repeats_scored:
            scored &= (positions >= 0) & (positions < length)
        return positions.clip(0, length - 1), scored


OURS = Protocol()


def protocol_named(name: str, spec: LifterSpec, dataset: Dataset) -> Protocol:
    """The protocol "paper" or "ours" for a lifter and a dataset.

    Raises ConfigError for another name, or for "paper" with data that no paper uses.
    """
    if name == "ours":
        return OURS
    if name != "paper":
        raise ConfigError(f"protocol: expected paper or ours, got {name!r}")
    if dataset == "other":
        raise ConfigError("protocol: paper needs Human3.6M or MPI-INF-3DHP; use ours for other data")
    windows: WindowPlacement = "centred"
    if spec.arch in ("d3dp", "diffpose") or (spec.arch == "mixste" and spec.schedule is None):
        windows = "last"
    if dataset == "motionbert" and spec.arch in _WHOLE_WINDOWS:
        windows = "whole"
    return Protocol(
        windows,
        repeats_scored=True,
        root_set_to_zero=True,
        flip_keeps_frames=True,
        left_out=MISLABELLED_VIDEOS if windows == "whole" else (),
        pck_joints=PCK_JOINTS_3DHP if dataset == "mpi3dhp" else None,
    )


def _whole_windows(length: int, frames: int) -> tuple[Indices, NDArray[np.bool_]]:
    """Windows inside the video, side by side from its start; a shorter video is stretched to one window.

    The frames after the last whole window are dropped. Of a frame that stretching repeats, the last copy is
    scored. (The release chooses copies at random.)
    """
    count = length // frames
    if count:
        windows = np.arange(count * frames).reshape(count, frames)
        return windows, np.ones(windows.shape, dtype=bool)
    stretched = np.linspace(0, length, frames, endpoint=False).astype(np.int64)[None]
    return stretched, np.append(np.diff(stretched[0]) > 0, True)[None]


class FlipAverageOfSameFrames(pipelines.FlipAverage):
    """The flip average in which both passes keep the frames that pruning keeps in the straight pass."""

    def forward(self, x: Tensor) -> Tensor:
        kept: dict[nn.Module, Tensor] = {}

        def keep_first(pruner: nn.Module, arguments: tuple[Any, ...], index: Tensor) -> Tensor:
            return kept.setdefault(pruner, index)

        model: Any = self.model
        hooks = [
            pruner.register_forward_hook(keep_first) for pruner in model.modules() if isinstance(pruner, TopK)
        ]
        try:
            straight = model(x)
            mirrored: Tensor = self.mirror(model(self.mirror(x)))
        finally:
            for hook in hooks:
                hook.remove()
        return torch.add(straight, mirrored) / 2
