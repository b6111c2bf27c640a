"""Lifts sequences with a known truth and scores the poses.

Three readings of the same weights. "seq2seq": windows side by side, every frame scored. "seq2frame": one
window around every frame, its centre scored. "live": each frame is the newest of its window, as a live
system reads it; only every `LIVE_STEP`-th frame is lifted, so there are no metrics of change over time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lifter import normalise, pipelines
from lifter.spec import LifterSpec
from lifter.training.metrics import METRICS, Table
from stream.messages import F32

LIVE_STEP = 10
_STILL = ("mpjpe", "p_mpjpe", "n_mpjpe", "pck", "auc")
Reading = Literal["seq2seq", "seq2frame", "live"]


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A video with a known truth.

    keypoints (L, J, 3) float32 x px, y px, score; truth (L, J, 3) float32 metres, root-relative, camera
    axes; row of the table it counts in; joints that are scored (all of them for None); which frames
    have a truth, (L,) bool, or None for all. Where networks answer in other units than metres, the truth
    is in those too and unit_m (L,) says how many metres one is. Where it is known: rate_hz, frames per
    second; camera (9,) as `lifter.aggregate` has it; root (L, 3) float32 metres, in camera axes.
    """

    row: str
    keypoints: F32
    truth: F32
    size_wh: tuple[int, int]
    joints: tuple[int, ...] | None = None
    valid: NDArray[np.bool_] | None = None
    unit_m: F32 | None = None
    rate_hz: float | None = None
    camera: F32 | None = None
    root: F32 | None = None


def evaluate(
    model: nn.Module,
    spec: LifterSpec,
    sequences: Iterable[Sequence],
    reading: Reading = "seq2seq",
    flip: bool = False,
    batch: int = 8,
) -> Table:
    """Metrics of every row of `sequences`; flip: average each answer with the mirrored one."""
    table = Table({name: METRICS[name] for name in (_STILL if reading == "live" else METRICS)})
    lifted = Lifted(model, spec, flip, batch)
    for sequence in sequences:
        frames, poses = lifted.read(sequence, reading)
        if sequence.valid is not None:
            known = sequence.valid[frames]
            frames, poses = frames[known], poses[known]
        if not len(frames):
            continue
        joints = list(sequence.joints or range(poses.shape[1]))
        unit_m = 1.0 if sequence.unit_m is None else sequence.unit_m[frames, None, None]
        table.add(sequence.row, unit_m * poses[:, joints], unit_m * sequence.truth[frames][:, joints])
    return table


class Lifted:
    """Lifts sequences with a model, normalised as live windows are."""

    def __init__(self, model: nn.Module, spec: LifterSpec, flip: bool = False, batch: int = 8) -> None:
        self.spec, self.batch = spec, batch
        self.device = next(model.parameters()).device
        model = model.eval()
        self.model = pipelines.FlipAverage(model, spec.skeleton).to(self.device) if flip else model

    def read(self, sequence: Sequence, reading: Reading) -> tuple[NDArray, NDArray]:
        """Frames (N,) and their poses (N, J, 3)."""
        length, frames = len(sequence.keypoints), self.spec.frames
        if reading == "live":
            end = np.arange(min(LIVE_STEP, length), length + 1, LIVE_STEP)
            bounds = np.stack([end - frames, end], axis=1)
            return end - 1, self._lift(sequence, bounds, slice(frames - 1, frames))[:, 0]
        if reading == "seq2frame" or self.spec.output == "centre":
            bounds = pipelines.windows(length, frames, "every")
            return np.arange(length), self._lift(sequence, bounds, slice(frames // 2, frames // 2 + 1))[:, 0]
        bounds = pipelines.windows(length, frames, "centred")
        answers = self._lift(sequence, bounds, slice(0, frames))
        return np.arange(length), pipelines.merge(answers, bounds, length)

    @torch.inference_mode()
    def _lift(self, sequence: Sequence, bounds: NDArray, wanted: slice) -> NDArray:
        """Poses (N, wanted, J, 3) of the windows (N, 2) of a sequence."""
        size = torch.tensor(sequence.size_wh, dtype=torch.float32, device=self.device)
        poses: list[Tensor] = []
        for first in range(0, len(bounds), self.batch):
            windows = pipelines.cut(sequence.keypoints, bounds[first : first + self.batch])
            keypoints = torch.from_numpy(windows).to(self.device)
            inputs, context = normalise.encode(keypoints, size.expand(len(keypoints), 2), self.spec)
            answers = self.model(inputs).float()
            if answers.shape[1] == 1:
                answers = answers.expand(-1, self.spec.frames, -1, -1)
            if sequence.unit_m is None:
                answers = normalise.decode(answers, context)
            else:
                answers = answers - answers[:, :, :1]
            poses.append(answers[:, wanted].cpu())
        return torch.cat(poses).numpy()
