"""Fixed test clips from motion capture: a random camera and detector per clip, the same on every run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from lifter.data.mocap import read_mocap
from lifter.data.sequence import LabelledSequence
from lifter.synthesis.body_shapes import BODY_SHAPES, factors_by_joint, resize_bones
from lifter.synthesis.detector_noise import simulate_detector
from lifter.synthesis.virtual_camera import View, random_views
from stream.messages import F32

SEED = 20_000
DRAW_SEEDS = 1_000_000  # between the seeds of a clip in successive draws
MAX_CLIP_FRAMES = 1000  # later frames of a clip are not used


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticClip:
    """A clip of L frames with the keypoints of a simulated detector.

    source: name of the clip's dataset. clean (L, 17, 2) float32 px: projections of the true joints.
    keypoints (L, 17, 3) float32 x px, y px, score. truth (L, 17, 3) float32 metres, root-relative, camera
    axes. metre_px (L,) float32: length of a metre in pixels at the person. size_wh px. rate_hz. camera (9,)
    float32 intrinsics as in `lifter.architectures.d3dp_aggregate`. root (L, 3) float32 metres, camera axes.
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
        """Keypoints (L, 17, 3) of a detector without errors: true joints with score 1."""
        return np.concatenate([self.clean, np.ones_like(self.clean[..., :1])], axis=-1)


def synthetic_clips(
    path: Path, every: int = 1, body: str | None = None, draw: int = 0
) -> Iterator[SyntheticClip]:
    """Every `every`-th clip of a motion-capture file, always with the same camera and detector.

    body: a name of `body_shapes.BODY_SHAPES`; the people then have its bones and an average adult's size.
    draw: another number gives other cameras and detectors.
    """
    mocap = read_mocap(path)
    for clip in range(0, len(mocap.start), every):
        start, length = int(mocap.start[clip]), min(int(mocap.length[clip]), MAX_CLIP_FRAMES)
        generator = torch.Generator().manual_seed(SEED + clip + draw * DRAW_SEEDS)
        xyz = mocap.xyz[None, start : start + length]
        if body is not None:
            xyz = resize_bones(xyz, factors_by_joint(torch.tensor([BODY_SHAPES[body]])))
        view = random_views(xyz, generator)
        truth = view.xyz[0, :, :17] - view.xyz[0, :, :1]
        width, height = view.size_wh[0].int().tolist()
        yield SyntheticClip(
            source=str(mocap.source[clip]),
            clean=view.project(view.xyz[:, :, :17])[0].numpy(),
            keypoints=simulate_detector(view, generator)[0].numpy(),
            truth=truth.numpy(),
            metre_px=(view.focal_px[0] / view.xyz[0, :, 0, 2]).numpy(),
            size_wh=(width, height),
            rate_hz=mocap.fps,
            camera=_intrinsics(view),
            root=view.xyz[0, :, 0].numpy(),
        )


def synthetic_sequences(
    path: Path, keypoints: Literal["detector", "clean"] = "detector", every: int = 1
) -> Iterator[LabelledSequence]:
    """Every `every`-th clip of a motion-capture file; the row of the table is the clip's source.

    keypoints: "detector" for those of the simulated detector; "clean" for the true ones with score 1.
    """
    for clip in synthetic_clips(path, every):
        yield LabelledSequence(
            clip.source,
            clip.exact() if keypoints == "clean" else clip.keypoints,
            clip.truth,
            clip.size_wh,
            rate_hz=clip.rate_hz,
            camera=clip.camera,
            root=clip.root,
        )


def _intrinsics(view: View) -> F32:
    """Focal lengths, centre, radial and tangential distortion (9,) float32, in screen units."""
    focal = float(2 * view.focal_px[0] / view.size_wh[0, 0])
    return np.array([focal, focal, 0, 0, float(view.k1[0]), 0, 0, 0, 0], np.float32)
