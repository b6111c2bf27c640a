"""Endless training windows made from motion capture: play, vary the body, film, detect, normalise."""

from bisect import bisect_right
from itertools import accumulate

import torch
from torch import Tensor

from lifter import normalise
from lifter.data.mocap import MocapClips as Motion
from lifter.spec import ASSUMED_FOCAL
from lifter.synthesis import body_shapes as body
from lifter.synthesis import rare_poses as rare
from lifter.synthesis.detector_noise import simulate_detector
from lifter.synthesis.virtual_camera import random_views
from lifter.training.batch import Batch, seeded
from lifter.training.recipe import Recipe

MARGIN = 24  # frames made around a short window, so that normalising sees what it sees in a long one


class Films:
    """Batches for every step of a recipe's stages, filmed from motion capture (a source for `Trainer`)."""

    def __init__(self, motion: Motion, plan: Recipe) -> None:
        self.motion, self.plan = motion, plan
        self.ends = list(accumulate(stage.steps for stage in plan.stages))
        self.steps = self.ends[-1] if self.ends else 0
        self.steps_per_epoch = max(1, self.steps)

    def make(self, step: int, rank: int = 0) -> Batch:
        generator = seeded(self.plan.seed, step, rank)
        part = min(bisect_right(self.ends, step), len(self.ends) - 1)
        stage, spec = self.plan.stages[part], self.plan.lifter
        frames = stage.frames or spec.frames
        spare = spec.frames - frames
        margin = min(MARGIN, spare)
        keypoints, truth, size_wh, focal_px = windows(self.motion, stage.batch, frames + margin, generator)
        inputs, context = normalise.encode(keypoints, size_wh, spec, focal_px)
        targets = normalise.to_network_axes(truth, context)
        # Live use reads the end of the window: half of the short ones lie there.
        ends, place = torch.rand(2, generator=generator).tolist()
        start = margin if ends < 0.5 else int(place * (margin + 1))
        first = spare if ends < 0.5 else int(place * (spare + 1))
        return Batch(inputs[:, start : start + frames], targets[:, start : start + frames], part, first)


def windows(
    motion: Motion, batch: int, frames: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keypoints (B, F, 17, 3), truth (B, F, 17, 3), size_wh (B, 2), the focal length to be taken (B,) px.

    The truth is in metres, root-relative, camera axes. Of one camera in five the focal length is known.
    """
    xyz = _play(motion, batch, frames, generator)
    xyz = rare.augment_poses(xyz, generator)
    xyz = body.mirror_windows(xyz, torch.rand(batch, generator=generator) < 0.5)
    xyz = body.resize_bones(xyz, body.random_bone_factors(batch, generator))
    view = random_views(xyz, generator)
    keypoints = simulate_detector(view, generator)
    truth = view.xyz[:, :, :17] - view.xyz[:, :, :1]
    first = _padding(batch, frames, generator)
    index = torch.maximum(torch.arange(frames), first[:, None])[..., None, None]
    keypoints = keypoints.gather(1, index.expand(keypoints.shape))
    known = torch.rand(batch, generator=generator) < 0.2
    focal_px = torch.where(known, view.focal_px, ASSUMED_FOCAL * view.size_wh.amax(dim=1))
    return keypoints, truth.gather(1, index.expand(truth.shape)), view.size_wh, focal_px


def _play(motion: Motion, batch: int, frames: int, generator: torch.Generator) -> Tensor:
    """Motion (B, F, 19, 3) at 24 to 60 Hz, a little slower or faster than life, sometimes almost still."""
    clip = motion.draw(batch, generator)
    first, rate, warp, still = torch.rand(4, batch, generator=generator)
    speed = motion.fps / (24 + 36 * rate) * torch.exp(0.4 * (warp - 0.5))
    speed = torch.where(still < 0.06, speed * 0.1 * warp, speed)
    return motion.play(clip, first * (motion.length[clip] - 1), speed, frames)


def _padding(batch: int, frames: int, generator: torch.Generator) -> Tensor:
    """Per window (B,) the first frame that is real: mostly 0, else as at the start of a stream."""
    short, place = torch.rand(2, batch, generator=generator)
    return torch.where(short < 0.15, (place * (frames - 1)).long(), torch.zeros(batch, dtype=torch.long))
