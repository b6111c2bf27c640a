"""Training windows rendered from motion capture: play, vary the body, render, detect, normalise."""

import math
import random
from bisect import bisect_right
from itertools import accumulate

import msgspec
import torch
from torch import Tensor

from lifter import normalise
from lifter.data.mocap import MocapClips
from lifter.spec import ASSUMED_FOCAL
from lifter.synthesis import body_shapes, rare_poses
from lifter.synthesis.detector_habits import NO_HABITS, DetectorHabits
from lifter.synthesis.detector_noise import simulate_detector
from lifter.synthesis.fill_gaps import fill_missing_joints
from lifter.synthesis.virtual_camera import random_views
from lifter.training.batch import TrainingBatch, step_generator, step_seed
from lifter.training.recipe import Recipe
from stream.errors import ConfigError

MARGIN_FRAMES = 24  # rendered around a short window, so that its normalisation equals that of a long window


class MocapBatches:
    """Batches for every step of a recipe's stages, rendered from motion capture (a `BatchSource`)."""

    def __init__(self, motion: MocapClips, recipe: Recipe) -> None:
        self.motion, self.recipe, self.device = motion, recipe, torch.device("cpu")
        self.habits = _habits(recipe)
        self.cold_starts = _share(recipe, "cold_starts")
        self.stage_ends = list(accumulate(stage.steps for stage in recipe.stages))
        self.steps = self.stage_ends[-1] if self.stage_ends else 0
        self.steps_per_epoch = max(1, self.steps)

    def to(self, device: torch.device) -> None:
        """Render on this device from now on; another device draws other random numbers."""
        self.motion, self.device = self.motion.to(device), device

    def make(self, step: int, rank: int = 0) -> TrainingBatch:
        """The batch of a step: always the same for the same seed, step, rank and device."""
        with self.device:  # on which every tensor without a device of its own is made
            return self._make(step, rank)

    def _make(self, step: int, rank: int) -> TrainingBatch:
        generator = step_generator(self.recipe.seed, step, rank, self.device)
        index = min(bisect_right(self.stage_ends, step), len(self.stage_ends) - 1)
        stage, spec = self.recipe.stages[index], self.recipe.lifter
        frames = stage.frames or spec.frames
        omitted = spec.frames - frames
        margin = min(MARGIN_FRAMES, omitted)
        keypoints, truth, size_wh, focal_px = render_windows(
            self.motion,
            stage.batch // stage.successive,
            frames + margin + stage.successive - 1,
            generator,
            self.habits,
            self.cold_starts,
        )
        if stage.successive > 1:
            keypoints, truth = _successive(keypoints, truth, stage.successive)
            size_wh, focal_px = size_wh.repeat(stage.successive, 1), focal_px.repeat(stage.successive)
        inputs, context = normalise.encode(keypoints, size_wh, spec, focal_px)
        targets = normalise.to_network_axes(truth, context)
        # Live poses come from the end of the window: half of the short windows lie there.
        # Drawn by the host, which needs them to cut the window: a GPU would have to be waited for.
        place = random.Random(step_seed(self.recipe.seed, step, rank))
        at_end, share = place.random(), place.random()
        start = margin if at_end < 0.5 else int(share * (margin + 1))
        first_frame = omitted if at_end < 0.5 else int(share * (omitted + 1))
        rows = slice(start, start + frames)
        reflection = context.reflection
        if stage.successive == 1 or reflection is None:
            newest_reflection = None
        else:
            newest_reflection = reflection[:, rows][:, -1:]
        return TrainingBatch(
            inputs[:, rows], targets[:, rows], index, first_frame, stage.successive, newest_reflection
        )


def _habits(recipe: Recipe) -> DetectorHabits:
    """The habits of the simulated detector; ConfigError for wrong settings."""
    try:
        return msgspec.convert(recipe.data.get("detector", {}), DetectorHabits)
    except msgspec.ValidationError as error:
        raise ConfigError(f"data.detector: {error}") from error


def _successive(keypoints: Tensor, truth: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` windows of each motion, each a frame later than the window before: (count * B, F, 17, 3).

    Gaps are filled in each window on its own, since a live window does not know the frames after it.
    """
    frames = keypoints.shape[1] - count + 1
    windows = torch.cat([keypoints[:, first : first + frames] for first in range(count)])
    score = windows[..., 2]
    windows = torch.cat([fill_missing_joints(windows[..., :2], score > 0), score[..., None]], dim=-1)
    return windows, torch.cat([truth[:, first : first + frames] for first in range(count)])


def _share(recipe: Recipe, name: str) -> float:
    """A share of windows from the recipe's data section, 0 by default; ConfigError outside 0..1."""
    share = recipe.data.get(name, 0.0)
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ConfigError(f"data.{name}: expected a number in 0..1, got {share!r}")
    return float(share)


def render_windows(
    motion: MocapClips,
    batch: int,
    frames: int,
    generator: torch.Generator,
    habits: DetectorHabits = NO_HABITS,
    cold_starts: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keypoints (B, F, 17, 3), truth (B, F, 17, 3), size_wh (B, 2), the focal length to assume (B,) px.

    The truth is in metres, root-relative, camera axes. The true focal length is used for one window in five.
    cold_starts: share of windows with a short history, as in the first seconds of a person.
    """
    xyz = _play(motion, batch, frames, generator)
    xyz = rare_poses.augment_poses(xyz, generator)
    xyz = body_shapes.mirror_windows(xyz, torch.rand(batch, generator=generator) < 0.5)
    xyz = body_shapes.resize_bones(xyz, body_shapes.random_bone_factors(batch, generator))
    view = random_views(xyz, generator)
    keypoints = simulate_detector(view, generator, habits)
    truth = view.xyz[:, :, :17] - view.xyz[:, :, :1]
    first = _padding(batch, frames, generator, cold_starts)
    index = torch.maximum(torch.arange(frames), first[:, None])[..., None, None]
    keypoints = keypoints.gather(1, index.expand(keypoints.shape))
    is_calibrated = torch.rand(batch, generator=generator) < 0.2
    focal_px = torch.where(is_calibrated, view.focal_px, ASSUMED_FOCAL * view.size_wh.amax(dim=1))
    return keypoints, truth.gather(1, index.expand(truth.shape)), view.size_wh, focal_px


def _play(motion: MocapClips, batch: int, frames: int, generator: torch.Generator) -> Tensor:
    """Motion (B, F, 19, 3) at 24 to 60 Hz and slightly varied speed; 6 % of the windows almost still."""
    clip = motion.draw(batch, generator)
    first, rate, warp, still = torch.rand(4, batch, generator=generator)
    speed = motion.fps / (24 + 36 * rate) * torch.exp(0.4 * (warp - 0.5))
    speed = torch.where(still < 0.06, speed * 0.1 * warp, speed)
    return motion.play(clip, first * (motion.length[clip] - 1), speed, frames)


def _padding(batch: int, frames: int, generator: torch.Generator, cold_starts: float) -> Tensor:
    """First frame (B,) that is not padding: 0 for most windows, else as at the start of a stream.

    cold_starts: share of windows of 1 to `frames` real frames in which every doubling of the history is
    equally frequent; off, it draws no random numbers.
    """
    padded, share = torch.rand(2, batch, generator=generator)
    first = torch.where(padded < 0.15, (share * (frames - 1)).long(), torch.zeros(batch, dtype=torch.long))
    if not cold_starts:
        return first
    cold, share = torch.rand(2, batch, generator=generator)
    history = torch.exp(share * math.log(frames)).long().clamp(1, frames)
    return torch.where(cold < cold_starts, frames - history, first)
