"""Lifts sequences with a known truth and scores the poses.

Three readings of the same weights. "seq2seq": windows side by side, every frame scored. "seq2frame": one
window around every frame, its centre scored. "live": each frame is the newest of its window, as a live
system reads it; only every `LIVE_STEP`-th frame is lifted, so there are no metrics of change over time.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lifter import normalise
from lifter.architectures.d3dp import D3DP
from lifter.architectures.d3dp_aggregate import Aggregate, joint_best, jpma, pose_best
from lifter.data.sequence import Sequence
from lifter.evaluation.metrics import METRICS, Table
from lifter.h2ot import pipelines
from lifter.spec import LifterSpec
from stream.errors import ConfigError

LIVE_STEP = 10
_BATCH = 8
_STILL = ("mpjpe", "p_mpjpe", "n_mpjpe", "pck", "auc")
Reading = Literal["seq2seq", "seq2frame", "live"]


def evaluate(
    model: nn.Module,
    spec: LifterSpec,
    sequences: Iterable[Sequence],
    reading: Reading = "seq2seq",
    flip: bool = False,
    aggregate: Aggregate = "mean",
) -> Table:
    """Metrics of every row of `sequences`.

    flip: average each answer with the mirrored one; aggregate: how D3DP's hypotheses become one pose.
    """
    table = Table({name: METRICS[name] for name in (_STILL if reading == "live" else METRICS)})
    lifted = Lifted(model, spec, flip, aggregate)
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

    def __init__(
        self, model: nn.Module, spec: LifterSpec, flip: bool = False, aggregate: Aggregate = "mean"
    ) -> None:
        if aggregate != "mean" and (flip or not isinstance(model, D3DP)):
            raise ConfigError(
                f"aggregate: {aggregate} chooses among D3DP's hypotheses, which it mirrors itself; "
                f"got {spec.arch}{' and flip' if flip else ''}"
            )
        self.spec, self.aggregate = spec, aggregate
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
            bounds = pipelines.window_bounds(length, frames, "every")
            return np.arange(length), self._lift(sequence, bounds, slice(frames // 2, frames // 2 + 1))[:, 0]
        bounds = pipelines.window_bounds(length, frames, "centred")
        answers = self._lift(sequence, bounds, slice(0, frames))
        return np.arange(length), pipelines.merge_windows(answers, bounds, length)

    @torch.inference_mode()
    def _lift(self, sequence: Sequence, bounds: NDArray, wanted: slice) -> NDArray:
        """Poses (N, wanted, J, 3) of the windows (N, 2) of a sequence."""
        size = torch.tensor(sequence.size_wh, dtype=torch.float32, device=self.device)
        poses: list[Tensor] = []
        for first in range(0, len(bounds), _BATCH):
            part = bounds[first : first + _BATCH]
            keypoints = torch.from_numpy(pipelines.cut_windows(sequence.keypoints, part)).to(self.device)
            sizes = size.expand(len(part), 2)
            inputs, context = normalise.encode(keypoints, sizes, self.spec)
            if self.aggregate == "mean":
                answers = self._decoded(self.model(inputs).float(), context, sequence)
            else:
                sampled = self.model.sample(inputs)[:, -1].float()  # type: ignore[operator]
                each = [self._decoded(answer, context, sequence) for answer in sampled.unbind(dim=1)]
                screen = normalise.screen(keypoints, sizes)
                answers = self._joined(torch.stack(each, dim=1), screen, sequence, part)
            poses.append(answers[:, wanted].cpu())
        return torch.cat(poses).numpy()

    def _decoded(
        self, answers: Tensor, context: normalise.NormalisationContext, sequence: Sequence
    ) -> Tensor:
        """A network's answer (B, F or 1, J, 3) in the units of the truth, (B, F, J, 3)."""
        if answers.shape[1] == 1:
            answers = answers.expand(-1, self.spec.frames, -1, -1)
        if sequence.unit_m is None:
            return normalise.decode(answers, context)
        return answers - answers[:, :, :1]

    def _joined(self, hypotheses: Tensor, screen: Tensor, sequence: Sequence, bounds: NDArray) -> Tensor:
        """One pose of each frame (B, F, J, 3) of hypotheses (B, H, F, J, 3) about keypoints (B, F, J, 2)."""

        def windows(values: NDArray) -> Tensor:
            return torch.from_numpy(pipelines.cut_windows(values, bounds)).to(self.device)

        if self.aggregate == "jpma":
            if sequence.camera is None:
                raise ConfigError(f"aggregate: jpma needs the camera, which is not known of {sequence.row}")
            camera = torch.from_numpy(sequence.camera).to(self.device).expand(len(bounds), 9)
            root = None if sequence.root is None else windows(sequence.root)[:, :, None]
            return jpma(hypotheses, screen, camera, root)
        if self.aggregate == "j-best":
            return joint_best(hypotheses, windows(sequence.truth))
        return pose_best(
            hypotheses, windows(sequence.truth), list(sequence.joints or range(hypotheses.shape[3]))
        )
