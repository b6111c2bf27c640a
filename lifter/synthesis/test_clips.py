"""Test sequences of motion capture: each clip filmed by a camera and seen by a detector that never change."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from lifter.data.mocap import read
from lifter.data.sequence import Sequence
from lifter.synthesis.body_shapes import BODIES, by_joint, resize
from lifter.synthesis.detector_noise import detect
from lifter.synthesis.virtual_camera import View, film
from stream.messages import F32

SEED = 20_000
LONGEST = 1000  # frames of a clip that are used


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticClip:
    """A clip of L frames as a camera filmed it and a detector saw it.

    clean (L, 17, 2) float32 px, where the joints truly are; keypoints (L, 17, 3) float32 x px, y px, score;
    truth (L, 17, 3) float32 metres, root-relative, camera axes; metre_px (L,) pixels a metre at the person
    is long; size_wh of the image; rate_hz frames per second; camera (9,) as `lifter.aggregate` has it and
    root (L, 3) float32 metres: where the person is before it.
    """

    source: str
    clean: F32
    keypoints: F32
    truth: F32
    metre_px: F32
    size_wh: tuple[int, int]
    rate_hz: float
    camera: F32
    root: F32

    def exact(self) -> F32:
        """Keypoints (L, 17, 3) of a detector without errors: all of them true, with score 1."""
        return np.concatenate([self.clean, np.ones_like(self.clean[..., :1])], axis=-1)


def synthetic_clips(path: Path, every: int = 1, body: str | None = None) -> Iterator[SyntheticClip]:
    """Every `every`-th clip of a motion file, always the same.

    body: a name of `lifter.training.body.BODIES`, whose bones they get, at the size of an average adult.
    """
    motion = read(path)
    for clip in range(0, len(motion.start), every):
        start, length = int(motion.start[clip]), min(int(motion.length[clip]), LONGEST)
        generator = torch.Generator().manual_seed(SEED + clip)
        xyz = motion.xyz[None, start : start + length]
        if body is not None:
            xyz = resize(xyz, by_joint(torch.tensor([BODIES[body]])))
        view = film(xyz, generator)
        truth = view.xyz[0, :, :17] - view.xyz[0, :, :1]
        width, height = view.size_wh[0].int().tolist()
        yield SyntheticClip(
            str(motion.source[clip]),
            view.project(view.xyz[:, :, :17])[0].numpy(),
            detect(view, generator)[0].numpy(),
            truth.numpy(),
            (view.focal_px[0] / view.xyz[0, :, 0, 2]).numpy(),
            (width, height),
            motion.fps,
            _intrinsics(view),
            view.xyz[0, :, 0].numpy(),
        )


def sequences(
    path: Path, seen: Literal["detector", "clean"] = "detector", every: int = 1
) -> Iterator[Sequence]:
    """Every `every`-th clip of a motion file; the row is the clip's source.

    "detector": with the noise, gaps and misplaced joints of `lifter.training.detector`; "clean": the
    projections of the true joints with score 1.
    """
    for take in synthetic_clips(path, every):
        keypoints = take.exact() if seen == "clean" else take.keypoints
        yield Sequence(
            take.source,
            keypoints,
            take.truth,
            take.size_wh,
            rate_hz=take.rate_hz,
            camera=take.camera,
            root=take.root,
        )


def _intrinsics(view: View) -> F32:
    """Focal lengths, centre, radial and tangential distortion (9,) in screen units."""
    focal = float(2 * view.focal_px[0] / view.size_wh[0, 0])
    return np.array([focal, focal, 0, 0, float(view.k1[0]), 0, 0, 0, 0], np.float32)
