"""Training windows cut from the videos of a dataset, whatever its layout."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from lifter import normalise
from lifter.data.sequence import LabelledSequence
from lifter.layers import Mirror
from lifter.training.batch import TrainingBatch, step_generator
from lifter.training.recipe import Recipe
from stream.errors import ConfigError
from stream.messages import F32


class DatasetBatches:
    """Batches of windows of F frames of videos, shuffled anew each epoch (a `BatchSource`).

    stride: frames between the starts of windows; 1 gives a window around every frame, for models of the
    centre frame. Frames beyond either end of a video repeat its first or last frame. whole_windows: take only
    windows inside their video, and stretch a shorter video to one window, as MotionBERT does. processes:
    number of processes that share an epoch. Raises ConfigError without a video.
    """

    def __init__(
        self,
        sequences: Iterable[LabelledSequence],
        recipe: Recipe,
        stride: int,
        processes: int = 1,
        whole_windows: bool = False,
    ) -> None:
        self.sequences, self.recipe, self.processes = list(sequences), recipe, processes
        if not self.sequences:
            raise ConfigError("data: expected at least one training video, found none")
        self.mirror = Mirror(recipe.lifter.skeleton)
        lead = recipe.lifter.frames // 2 if stride == 1 else 0
        self.whole_windows = whole_windows
        tail = recipe.lifter.frames - 1 if whole_windows else 0
        starts = [np.arange(0, max(1, len(s.keypoints) - tail), stride) - lead for s in self.sequences]
        self.window_video = np.repeat(np.arange(len(starts)), [len(start) for start in starts])
        self.window_start = np.concatenate(starts)
        self.windows_per_epoch = len(self.window_start) * (2 if recipe.flip == "both" else 1)
        self.steps_per_epoch = max(1, self.windows_per_epoch // (recipe.batch * processes))
        self.steps = recipe.epochs * self.steps_per_epoch or sum(stage.steps for stage in recipe.stages)

    def make(self, step: int, rank: int = 0) -> TrainingBatch:
        """The batch of a step; all processes share the shuffled order and take different parts of it."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(self.windows_per_epoch)
        first = (step_of_epoch * self.processes + rank) * self.recipe.batch
        windows = order.take(range(first, first + self.recipe.batch), mode="wrap")
        keypoints, truth, size_wh = zip(
            *(self._window(int(index) % len(self.window_start)) for index in windows), strict=True
        )
        inputs, context = normalise.encode(
            torch.from_numpy(np.stack(keypoints)),
            torch.tensor(size_wh, dtype=torch.float32),
            self.recipe.lifter,
        )
        targets = normalise.to_network_axes(torch.from_numpy(np.stack(truth)), context)
        if self.recipe.flip:
            flip = torch.from_numpy(windows >= len(self.window_start))
            if self.recipe.flip is True:
                flip = torch.rand(len(inputs), generator=step_generator(self.recipe.seed, step, rank)) < 0.5
            inputs, targets = self._flipped(inputs, flip), self._flipped(targets, flip)
        return TrainingBatch(inputs, targets)

    def _window(self, index: int) -> tuple[F32, F32, tuple[int, int]]:
        """Keypoints (F, J, 3), truth (F, J, 3) and image size of a window."""
        sequence = self.sequences[self.window_video[index]]
        length, size = len(sequence.keypoints), self.recipe.lifter.frames
        if self.whole_windows and length < size:
            frames = np.linspace(0, length, size, endpoint=False).astype(np.int64)
        else:
            frames = (self.window_start[index] + np.arange(size)).clip(0, length - 1)
        return sequence.keypoints[frames], sequence.truth[frames], sequence.size_wh

    def _flipped(self, x: Tensor, flip: Tensor) -> Tensor:
        """Windows (B, F, J, C), mirrored where flip (B,) is true."""
        return torch.where(flip[:, None, None, None], self.mirror(x), x)
