"""Endless training windows made from motion capture: play, vary the body, film, detect, normalise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lifter import normalise
from lifter.training import body, rare
from lifter.training.camera import film
from lifter.training.detector import detect
from lifter.training.motion import Motion


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step trains on: inputs (B, F, J, C) and targets (B, F, J, 3) in the network's axes."""

    inputs: Tensor
    targets: Tensor


def windows(
    motion: Motion, batch: int, frames: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Keypoints (B, F, 17, 3), truth (B, F, 17, 3) in metres, root-relative, camera axes, size_wh (B, 2)."""
    xyz = _play(motion, batch, frames, generator)
    xyz = rare.vary(xyz, generator)
    xyz = body.mirror(xyz, torch.rand(batch, generator=generator) < 0.5)
    xyz = body.resize(xyz, body.random_scale(batch, generator))
    view = film(xyz, generator)
    keypoints = detect(view, generator)
    truth = view.xyz[:, :, :17] - view.xyz[:, :, :1]
    first = _padding(batch, frames, generator)
    index = torch.maximum(torch.arange(frames), first[:, None])[..., None, None]
    keypoints = keypoints.gather(1, index.expand(keypoints.shape))
    return keypoints, truth.gather(1, index.expand(truth.shape)), view.size_wh


def make(motion: Motion, batch: int, frames: int, spec: normalise.Spec, generator: torch.Generator) -> Batch:
    """One batch of `frames` frames, normalised exactly as live windows are."""
    keypoints, truth, size_wh = windows(motion, batch, frames, generator)
    inputs, context = normalise.encode(keypoints, size_wh, spec)
    return Batch(inputs, normalise.to_network_axes(truth, context))


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
