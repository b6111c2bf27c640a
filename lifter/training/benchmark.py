"""Test sequences of motion capture: each clip filmed by a camera and seen by a detector that never change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from lifter.training.camera import film
from lifter.training.detector import detect
from lifter.training.evaluate import Sequence
from lifter.training.motion import read

SEED = 20_000
LONGEST = 1000  # frames of a clip that are used


def sequences(
    path: Path, seen: Literal["detector", "clean"] = "detector", every: int = 1
) -> Iterator[Sequence]:
    """Every `every`-th clip of a motion file; the row is the clip's source.

    "detector": with the noise, gaps and misplaced joints of `lifter.training.detector`; "clean": the
    projections of the true joints with score 1.
    """
    motion = read(path)
    for clip in range(0, len(motion.start), every):
        start, length = int(motion.start[clip]), min(int(motion.length[clip]), LONGEST)
        generator = torch.Generator().manual_seed(SEED + clip)
        view = film(motion.xyz[None, start : start + length], generator)
        keypoints = detect(view, generator)
        if seen == "clean":
            pixels = view.project(view.xyz[:, :, :17])
            keypoints = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
        truth = view.xyz[0, :, :17] - view.xyz[0, :, :1]
        width, height = view.size_wh[0].int().tolist()
        yield Sequence(str(motion.source[clip]), keypoints[0].numpy(), truth.numpy(), (width, height))
