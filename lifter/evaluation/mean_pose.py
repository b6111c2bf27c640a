"""What one gets without looking: the mean pose of the training motion, and the one of each facing.

Both in the axes of a virtual camera that follows the person (the person convention of `lifter.normalise`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lifter import normalise
from lifter.data import mocap as motion
from lifter.spec import LifterSpec
from lifter.synthesis.test_clips import Take
from lifter.synthesis.virtual_camera import film
from stream.messages import F32

FACINGS = 8
_CLIPS, _FRAMES, _SEED = 2000, 9, 30_000
_SPEC = LifterSpec(name="mean pose", in_channels=3, normalise="person")


@dataclass(frozen=True, slots=True)
class MeanPose:
    """poses (N, 17, 3) metres: one of everything, or one per facing, which is then told by the truth."""

    poses: Tensor

    def of(self, take: Take) -> F32:
        """Poses (L, 17, 3) in camera axes."""
        truth = torch.from_numpy(take.truth)[None]
        _, context = _encode(torch.from_numpy(take.exact())[None], torch.tensor([take.size_wh]))
        chosen = torch.zeros(truth.shape[:2], dtype=torch.long)
        if len(self.poses) > 1:
            chosen = _facing(normalise.to_network_axes(truth, context))
        return normalise.decode(self.poses[chosen], context)[0].numpy()


def mean_poses(path: Path, shares: dict[str, float] | None = None) -> tuple[MeanPose, MeanPose]:
    """The mean pose, and those of eight facings, of a motion file's people filmed from everywhere."""
    clips = motion.read(path, shares)
    generator = torch.Generator().manual_seed(_SEED)
    clip = clips.draw(_CLIPS, generator)
    first = torch.rand(_CLIPS, generator=generator) * (clips.length[clip] - 1)
    view = film(clips.play(clip, first, torch.full((_CLIPS,), 5.0), _FRAMES), generator)
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
    """Which of the directions (...,) in 0..7, seen from above, the hips of poses (..., 17, 3) look in."""
    across = np.pi * 2 / FACINGS
    hips = poses[..., 4, :] - poses[..., 1, :]
    angle = torch.atan2(hips[..., 2], hips[..., 0]) + across / 2
    return (angle.remainder(2 * np.pi) / across).long().clamp(max=FACINGS - 1)
