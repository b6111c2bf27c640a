"""Baselines that ignore the image: the mean training pose, and the mean training pose of each facing.

Both are in the axes of a virtual camera that follows the person (the person convention of
`lifter.normalise`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lifter import normalise
from lifter.data import mocap
from lifter.joints import H36M
from lifter.spec import LifterSpec
from lifter.synthesis.synthetic_clips import SyntheticClip
from lifter.synthesis.virtual_camera import random_views
from stream.messages import F32

FACINGS = 8
_CLIPS, _FRAMES, _SEED = 2000, 9, 30_000
_SPEC = LifterSpec(name="mean pose", in_channels=3, normalise="person")
_RIGHT_HIP, _LEFT_HIP = H36M.joints.index("right_hip"), H36M.joints.index("left_hip")


@dataclass(frozen=True, slots=True)
class MeanPose:
    """A constant pose, or one per facing, which is then taken from the truth: poses (N, 17, 3) metres."""

    poses: Tensor

    def lift(self, clip: SyntheticClip) -> F32:
        """Poses (L, 17, 3) in metres and camera axes."""
        truth = torch.from_numpy(clip.truth)[None]
        _, context = _encode(torch.from_numpy(clip.exact())[None], torch.tensor([clip.size_wh]))
        facing = torch.zeros(truth.shape[:2], dtype=torch.long)
        if len(self.poses) > 1:
            facing = _facing(normalise.to_network_axes(truth, context))
        poses: F32 = normalise.decode(self.poses[facing], context)[0].numpy()
        return poses


def mean_poses(path: Path, shares: dict[str, float] | None = None) -> tuple[MeanPose, MeanPose]:
    """The mean pose and the mean poses of 8 facings, of a motion file rendered from random cameras.

    shares: how often each source is drawn, by name.
    """
    motion = mocap.read_mocap(path, shares)
    generator = torch.Generator().manual_seed(_SEED)
    clip = motion.draw(_CLIPS, generator)
    first = torch.rand(_CLIPS, generator=generator) * (motion.length[clip] - 1)
    view = random_views(motion.play(clip, first, torch.full((_CLIPS,), 5.0), _FRAMES), generator)
    pixels = view.project(view.xyz[:, :, :17])
    _, context = _encode(torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1), view.size_wh)
    truth = view.xyz[:, :, :17] - view.xyz[:, :, :1]
    poses = normalise.to_network_axes(truth, context).flatten(0, 1)
    facing = _facing(poses)
    facings = [poses[facing == number].mean(dim=0) for number in range(FACINGS)]
    return MeanPose(poses.mean(dim=0, keepdim=True)), MeanPose(torch.stack(facings))


def _encode(keypoints: Tensor, size_wh: Tensor) -> tuple[Tensor, normalise.NormalisationContext]:
    return normalise.encode(keypoints, size_wh.float(), _SPEC)


def _facing(poses: Tensor) -> Tensor:
    """Number (...,) from 0 to 7 of the direction, seen from above, of the hips of poses (..., 17, 3)."""
    sector = np.pi * 2 / FACINGS
    hips = poses[..., _LEFT_HIP, :] - poses[..., _RIGHT_HIP, :]
    angle = torch.atan2(hips[..., 2], hips[..., 0]) + sector / 2
    return (angle.remainder(2 * np.pi) / sector).long().clamp(max=FACINGS - 1)
