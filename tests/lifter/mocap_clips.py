"""Small motion-capture clips for tests."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lifter.data.mocap import MocapClips, read_mocap
from lifter.training import dry_run as dry


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walking_clips(folder: Path) -> MocapClips:
    """Three clips of 60 to 62 frames at 50 Hz of a walking person who faces -y."""
    clips = {f"clip/walk/{i}": dry.motion(60 + i, seed=i).astype(np.float32) for i in range(3)}
    np.savez(folder / "clips.npz", fps=np.float32(50), **clips)
    return read_mocap(folder / "clips.npz")


def random_windows(clips: MocapClips, windows: int = 8, frames: int = 30) -> Tensor:
    """Windows (B, F, 19, 3) of the first frames of random clips."""
    clip = clips.draw(windows, seeded())
    return clips.play(clip, torch.zeros(windows), torch.ones(windows), frames)
