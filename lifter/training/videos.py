"""Training windows cut from videos with a known truth, whichever layout their dataset came in."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from lifter import normalise
from lifter.data.sequence import LabelledSequence as Sequence
from lifter.training.batch import Batch, seeded
from lifter.training.recipe import Recipe
from stream.errors import ConfigError
from stream.skeletons import SKELETONS


class Videos:
    """Windows of F frames of videos, shuffled anew each epoch (a source for `Trainer`).

    stride: frames between the starts of windows; 1 gives a window around every frame, as a model of the
    centre frame wants. What hangs over a video's end repeats its last frame.
    processes: how many share an epoch.
    """

    def __init__(self, sequences: Iterable[Sequence], plan: Recipe, stride: int, processes: int = 1) -> None:
        self.sequences, self.plan, self.processes = list(sequences), plan, processes
        if not self.sequences:
            raise ConfigError("data: expected at least one training video, found none")
        lead = plan.lifter.frames // 2 if stride == 1 else 0
        starts = [np.arange(0, len(s.keypoints), stride) - lead for s in self.sequences]
        self.video = np.repeat(np.arange(len(starts)), [len(start) for start in starts])
        self.start = np.concatenate(starts)
        self.steps_per_epoch = max(1, len(self.start) // (plan.batch * processes))
        self.steps = plan.epochs * self.steps_per_epoch or sum(stage.steps for stage in plan.stages)

    def make(self, step: int, rank: int = 0) -> Batch:
        """The batch of a step; processes of one run share the shuffle and differ in their part of it."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.plan.seed, epoch]).permutation(len(self.start))
        first = (place * self.processes + rank) * self.plan.batch
        chosen = order.take(range(first, first + self.plan.batch), mode="wrap")
        keypoints, truth, size_wh = zip(*(self._window(int(i)) for i in chosen), strict=True)
        inputs, context = normalise.encode(
            torch.from_numpy(np.stack(keypoints)),
            torch.tensor(size_wh, dtype=torch.float32),
            self.plan.lifter,
        )
        targets = normalise.to_network_axes(torch.from_numpy(np.stack(truth)), context)
        if self.plan.flip:
            turned = torch.rand(len(inputs), generator=seeded(self.plan.seed, step, rank)) < 0.5
            inputs, targets = _flipped(inputs, turned), _flipped(targets, turned)
        return Batch(inputs, targets)

    def _window(self, index: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        sequence = self.sequences[self.video[index]]
        frames = (self.start[index] + np.arange(self.plan.lifter.frames)).clip(0, len(sequence.keypoints) - 1)
        return sequence.keypoints[frames], sequence.truth[frames], sequence.size_wh


def _flipped(x: Tensor, chosen: Tensor) -> Tensor:
    """Windows (B, F, 17, C) of which the chosen are mirrored: x negated, left and right exchanged."""
    order = list(range(x.shape[2]))
    for left, right in SKELETONS["h36m17"].flip_pairs:
        order[left], order[right] = right, left
    sign = torch.ones(x.shape[-1])
    sign[0] = -1
    return torch.where(chosen[:, None, None, None], x[:, :, order] * sign, x)
