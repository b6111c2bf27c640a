"""Lifts sequences with a known truth and computes the metrics of the poses.

Three modes for the same weights. "seq2seq": windows side by side, every frame scored. "seq2frame": one
window around every frame, its centre scored. "live": each scored frame is the newest of its window, as in the
live pipeline; only every `LIVE_STEP`-th frame is lifted, so metrics of change over time are left out.
`lifter.evaluation.protocol` decides which windows and which of their frames count.
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
from lifter.evaluation.motion_complexity import MotionErrors
from lifter.evaluation.protocol import OURS, FlipAverageOfSameFrames, Indices, Protocol
from lifter.h2ot import pipelines
from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.messages import F32

LIVE_STEP = 10
_CPU_BATCH, _GPU_BATCH = 8, 32  # windows
_METRICS_PER_FRAME = ("mpjpe", "p_mpjpe", "n_mpjpe", "pck", "auc")
Mode = Literal["seq2seq", "seq2frame", "live"]
Combination = Aggregate | Literal["flip"]


def evaluate(
    model: nn.Module,
    spec: LifterSpec,
    sequences: Iterable[LabelledSequence],
    mode: Mode = "seq2seq",
    combination: Combination = "mean",
    protocol: Protocol = OURS,
    motion: MotionErrors | None = None,
) -> MetricTable:
    """Metrics of a model, a table row for every `LabelledSequence.row`.

    combination: "flip" averages each pose with the mirrored input's pose; the others say how D3DP's
    hypotheses become one pose. motion: collects the errors by the true motion; a video of unknown rate counts
    as one of the rate of the lifter's training. Raises ConfigError where the model has no hypotheses to
    aggregate.
    """
    table = MetricTable({name: METRICS[name] for name in (_METRICS_PER_FRAME if mode == "live" else METRICS)})
    lifter = SequenceLifter(model, spec, combination, protocol)
    for sequence in sequences:
        if not protocol.scores(sequence.video):
            continue
        frames, poses = lifter.lift(sequence, mode)
        if sequence.valid is not None:
            labelled = sequence.valid[frames]
            frames, poses = frames[labelled], poses[labelled]
        if not len(frames):
            continue
        joints = list(sequence.joints or range(poses.shape[1]))
        truth, unit_m = sequence.truth[:, joints], sequence.unit_m
        predicted = poses[:, joints]
        if unit_m is not None:
            truth, predicted = unit_m[:, None, None] * truth, unit_m[frames, None, None] * predicted
        table.add(sequence.row, predicted, truth[frames], _positions(protocol.pck_joints, joints))
        if motion is not None:
            motion.add(truth, sequence.rate_hz or spec.rate_hz, predicted, frames)
    return table


def _positions(of: tuple[int, ...] | None, joints: list[int]) -> list[int] | None:
    """Positions among `joints` of those that `of` names; None for all."""
    return None if of is None else [position for position, joint in enumerate(joints) if joint in of]


class SequenceLifter:
    """Lifts sequences of a dataset with a model; keypoints are normalised as live windows are."""

    def __init__(
        self,
        model: nn.Module,
        spec: LifterSpec,
        combination: Combination = "mean",
        protocol: Protocol = OURS,
    ) -> None:
        flip = combination == "flip"
        if combination not in ("mean", "flip") and not isinstance(model, D3DP):
            raise ConfigError(
                f"aggregate: {combination} chooses among D3DP's hypotheses, and {spec.arch} has none"
            )
        self.spec, self.combination, self.protocol = spec, combination, protocol
        self.device = next(model.parameters()).device
        self.batch = _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH
        average = FlipAverageOfSameFrames if protocol.flip_keeps_frames else pipelines.FlipAverage
        model = model.eval()
        self.model: Any = average(model, spec.skeleton).to(self.device) if flip else model

    def lift(self, sequence: LabelledSequence, mode: Mode) -> tuple[Indices, F32]:
        """Indices of the scored frames (N,) and their poses (N, J, 3) in the units of the truth."""
        length, size = len(sequence.keypoints), self.spec.frames
        if mode == "live":
            newest = np.arange(min(LIVE_STEP, length), length + 1, LIVE_STEP) - 1
            windows = (newest[:, None] + np.arange(1 - size, 1)).clip(0)
            return newest, self._lift(sequence, windows, slice(size - 1, size))[:, 0]
        if mode == "seq2frame" or self.spec.output == "centre":
            centres = np.arange(length) if sequence.valid is None else np.flatnonzero(sequence.valid)
            if not len(centres):
                return centres, np.zeros((0, *sequence.truth.shape[1:]), np.float32)
            windows = centres[:, None] + np.arange(size) - size // 2
            centre = slice(size // 2, size // 2 + 1)
            return centres, self._lift(sequence, windows.clip(0, length - 1), centre)[:, 0]
        windows, scored = self.protocol.place_windows(length, size)
        return windows[scored], self._lift(sequence, windows, slice(0, size))[scored]

    @torch.inference_mode()
    def _lift(self, sequence: LabelledSequence, windows: Indices, rows: slice) -> F32:
        """Poses (N, rows, J, 3) of some rows of windows of a sequence, given by frame numbers (N, F)."""
        size_wh = torch.tensor(sequence.size_wh, dtype=torch.float32, device=self.device)
        poses: list[Tensor] = []
        for first in range(0, len(windows), self.batch):
            batch = windows[first : first + self.batch]
            keypoints = torch.from_numpy(sequence.keypoints[batch]).to(self.device)
            sizes_wh = size_wh.expand(len(batch), 2)
            inputs, context = normalise.encode(keypoints, sizes_wh, self.spec)
            if self.combination in ("mean", "flip"):
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
        in_units_of_truth = sequence.unit_m is not None or (context.metric and context.reflection is None)
        if in_units_of_truth and self.protocol.root_set_to_zero:
            return torch.cat([torch.zeros_like(output[:, :, :1]), output[:, :, 1:]], dim=2)
        if sequence.unit_m is None:
            return normalise.decode(output, context)
        return output - output[:, :, :1]

    def _aggregate(
        self, hypotheses: Tensor, screen: Tensor, sequence: LabelledSequence, windows: Indices
    ) -> Tensor:
        """One pose of each frame (B, F, J, 3) from hypotheses (B, H, F, J, 3) and keypoints (B, F, J, 2)."""

        def cut(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(values[windows]).to(self.device)

        if self.combination == "jpma":
            if sequence.camera is None:
                raise ConfigError(f"aggregate: jpma needs the camera, which is not known of {sequence.row}")
            camera = torch.from_numpy(sequence.camera).to(self.device).expand(len(windows), 9)
            root = None if sequence.root is None else cut(sequence.root)[:, :, None]
            return jpma(hypotheses, screen, camera, root)
        if self.combination == "j-best":
            return joint_best(hypotheses, cut(sequence.truth))
        return pose_best(hypotheses, cut(sequence.truth), list(sequence.joints or range(hypotheses.shape[3])))
