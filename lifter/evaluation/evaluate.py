"""Lifts sequences with a known truth and computes the metrics of the poses.

Three modes for the same weights. "seq2seq": windows side by side, every frame scored. "seq2frame": one
window around every frame, its centre scored. "live": each scored frame is the newest of its window, as in the
live pipeline; only every `LIVE_STEP`-th frame is lifted, so metrics of change over time are left out.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lifter import normalise
from lifter.architectures.d3dp import D3DP
from lifter.architectures.d3dp_aggregate import Aggregate, joint_best, jpma, pose_best
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.metrics import METRICS, MetricTable
from lifter.h2ot import pipelines
from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.messages import F32

LIVE_STEP = 10
_BATCH = 8
_METRICS_PER_FRAME = ("mpjpe", "p_mpjpe", "n_mpjpe", "pck", "auc")
Mode = Literal["seq2seq", "seq2frame", "live"]
Indices = NDArray[np.int64]


def evaluate(
    model: nn.Module,
    spec: LifterSpec,
    sequences: Iterable[LabelledSequence],
    mode: Mode = "seq2seq",
    flip: bool = False,
    aggregate: Aggregate = "mean",
) -> MetricTable:
    """Metrics of a model, a table row for every `LabelledSequence.row`.

    flip: average each pose with the mirrored input's pose; aggregate: how D3DP's hypotheses become one pose.
    Raises ConfigError where the model has no hypotheses to aggregate.
    """
    table = MetricTable({name: METRICS[name] for name in (_METRICS_PER_FRAME if mode == "live" else METRICS)})
    lifter = SequenceLifter(model, spec, flip, aggregate)
    for sequence in sequences:
        frames, poses = lifter.lift(sequence, mode)
        if sequence.valid is not None:
            labelled = sequence.valid[frames]
            frames, poses = frames[labelled], poses[labelled]
        if not len(frames):
            continue
        joints = list(sequence.joints or range(poses.shape[1]))
        unit_m = 1.0 if sequence.unit_m is None else sequence.unit_m[frames, None, None]
        table.add(sequence.row, unit_m * poses[:, joints], unit_m * sequence.truth[frames][:, joints])
    return table


class SequenceLifter:
    """Lifts sequences of a dataset with a model; keypoints are normalised as live windows are."""

    def __init__(
        self, model: nn.Module, spec: LifterSpec, flip: bool = False, aggregate: Aggregate = "mean"
    ) -> None:
        if aggregate != "mean" and (flip or not isinstance(model, D3DP)):
            raise ConfigError(
                f"aggregate: {aggregate} chooses among D3DP's hypotheses, which D3DP mirrors itself; "
                f"got {spec.arch}{' and flip' if flip else ''}"
            )
        self.spec, self.aggregate = spec, aggregate
        self.device = next(model.parameters()).device
        model = model.eval()
        self.model: Any = pipelines.FlipAverage(model, spec.skeleton).to(self.device) if flip else model

    def lift(self, sequence: LabelledSequence, mode: Mode) -> tuple[Indices, F32]:
        """Indices of the lifted frames (N,) and their poses (N, J, 3) in the units of the truth."""
        length, frames = len(sequence.keypoints), self.spec.frames
        if mode == "live":
            end = np.arange(min(LIVE_STEP, length), length + 1, LIVE_STEP)
            bounds = np.stack([end - frames, end], axis=1)
            return end - 1, self._lift(sequence, bounds, slice(frames - 1, frames))[:, 0]
        if mode == "seq2frame" or self.spec.output == "centre":
            bounds = pipelines.window_bounds(length, frames, "every")
            return np.arange(length), self._lift(sequence, bounds, slice(frames // 2, frames // 2 + 1))[:, 0]
        bounds = pipelines.window_bounds(length, frames, "centred")
        poses = self._lift(sequence, bounds, slice(0, frames))
        return np.arange(length), pipelines.merge_windows(poses, bounds, length)

    @torch.inference_mode()
    def _lift(self, sequence: LabelledSequence, bounds: Indices, rows: slice) -> F32:
        """Poses (N, rows, J, 3) of some rows of the windows `bounds` (N, 2) of a sequence."""
        size_wh = torch.tensor(sequence.size_wh, dtype=torch.float32, device=self.device)
        poses: list[Tensor] = []
        for first in range(0, len(bounds), _BATCH):
            batch = bounds[first : first + _BATCH]
            keypoints = torch.from_numpy(pipelines.cut_windows(sequence.keypoints, batch)).to(self.device)
            sizes_wh = size_wh.expand(len(batch), 2)
            inputs, context = normalise.encode(keypoints, sizes_wh, self.spec)
            if self.aggregate == "mean":
                lifted = self._decode(self.model(inputs).float(), context, sequence)
            else:
                samples = self.model.sample(inputs)[:, -1].float()
                hypotheses = [self._decode(sample, context, sequence) for sample in samples.unbind(dim=1)]
                screen = normalise.screen(keypoints, sizes_wh)
                lifted = self._aggregate(torch.stack(hypotheses, dim=1), screen, sequence, batch)
            poses.append(lifted[:, rows].cpu())
        lifted_poses: F32 = torch.cat(poses).numpy()
        return lifted_poses

    def _decode(
        self, output: Tensor, context: normalise.NormalisationContext, sequence: LabelledSequence
    ) -> Tensor:
        """Poses (B, F, J, 3) in the units of the truth, from a network's output (B, F or 1, J, 3)."""
        if output.shape[1] == 1:
            output = output.expand(-1, self.spec.frames, -1, -1)
        if sequence.unit_m is None:
            return normalise.decode(output, context)
        return output - output[:, :, :1]

    def _aggregate(
        self, hypotheses: Tensor, screen: Tensor, sequence: LabelledSequence, bounds: Indices
    ) -> Tensor:
        """One pose of each frame (B, F, J, 3) from hypotheses (B, H, F, J, 3) and keypoints (B, F, J, 2)."""

        def windows(values: NDArray[Any]) -> Tensor:
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
