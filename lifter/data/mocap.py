"""Read motion capture: clips of 3D joints, drawn at random by dataset and subject, played at any speed.

There are two file layouts, both `.npz` in metres with z up. Clips: every array named `clip/<name>` is one
clip (F, 17, 3), with a scalar `fps`. Packed: `root` (N, 3) float32, `rel` (N, J, 3) int16 in 0.1 mm, and per
clip `start`, `length`, `source`, `subject`, with a scalar `fps`; if J is 19, joints 17 and 18 are the tip of
the nose and the middle of the ears.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor

from lifter.data import safe_load as safe
from lifter.data.mocap_joints import FACE, HEAD_TOP, NECK_NOSE, THORAX
from stream.errors import ConfigError
from stream.messages import F32

Names = NDArray[Any]  # array of str


@dataclass(frozen=True, slots=True)
class MocapClips:
    """Clips of motion capture, stored one after the other.

    xyz (N, 19, 3) float32 metres, z up, joints as in `mocap_joints`; start, length (clips,) int64 in frames;
    weight (clips,) float64, the probability of each clip; source (clips,) names of datasets; fps of all.
    """

    xyz: Tensor
    start: Tensor
    length: Tensor
    weight: Tensor
    source: Names
    fps: float

    def to(self, device: torch.device) -> "MocapClips":
        """The same clips in the memory of a device."""
        tensors = {name: getattr(self, name).to(device) for name in ("xyz", "start", "length", "weight")}
        return replace(self, **tensors)

    def draw(self, clips: int, generator: torch.Generator) -> Tensor:
        """Indices (clips,) of randomly drawn clips."""
        return torch.multinomial(self.weight, clips, replacement=True, generator=generator)

    def play(self, clip: Tensor, first: Tensor, speed: Tensor, frames: int) -> Tensor:
        """Motion (B, F, 19, 3) of each clip (B,) from frame `first` (B,), by `speed` (B,) frames per frame.

        At its end a clip is played backward to its start, then forward again, so the motion has no jump.
        """
        last = (self.length[clip] - 1).float()[:, None]
        time = first[:, None] + speed[:, None] * torch.arange(frames)
        time = (time + last).remainder(2 * last) - last  # a triangle wave between 0 and last
        time = time.abs().clamp(max=last)
        low = time.floor().minimum(last - 1)
        index = self.start[clip][:, None] + low.long()
        share = (time - low)[..., None, None]
        return torch.lerp(self.xyz[index], self.xyz[index + 1], share)


def read_mocap(path: Path, shares: dict[str, float] | None = None) -> MocapClips:
    """Read a file of clips; ConfigError for a missing file or another layout.

    shares: relative probability of the sources, by the beginning of their name (default: 1 for each).
    """
    if not path.is_file():
        raise ConfigError(f"motion: expected an .npz file at {path}, found none; pass its folder with --data")
    with safe.open_npz(path) as file:
        if "rel" in file:
            parts = _packed(file)
        elif any(name.startswith("clip/") for name in file):
            parts = _clips(file)
        else:
            raise ConfigError(
                f"{path}: expected arrays clip/<name> (F, 17, 3) and fps, got {sorted(file)[:6]}"
            )
    subject, source, start, length, xyz, fps = parts
    weight = clip_weights(source, subject, length, shares or {})
    return MocapClips(torch.from_numpy(xyz), start, length, weight, source, fps)


_Parts = tuple[Names, Names, Tensor, Tensor, F32, float]  # subject, source, start, length, xyz, fps


def _packed(file: NpzFile) -> _Parts:
    xyz = file["rel"].astype(np.float32) / 1e4
    xyz += file["root"][:, None]
    xyz = xyz[:, : 17 + FACE] if xyz.shape[1] >= 17 + FACE else _with_face(xyz)
    start, length = torch.from_numpy(file["start"]), torch.from_numpy(file["length"])
    return file["subject"], file["source"], start, length, np.ascontiguousarray(xyz), _fps(file)


def _clips(file: NpzFile) -> _Parts:
    names = [name for name in file if name.startswith("clip/")]
    clips = [file[name].astype(np.float32) for name in names]
    for name, clip in zip(names, clips, strict=True):
        if clip.ndim != 3 or clip.shape[1:] != (17, 3) or len(clip) < 2 or not np.isfinite(clip).all():
            raise ConfigError(f"{name}: expected (F >= 2, 17, 3) finite metres, got {clip.shape}")
    length = torch.tensor([len(clip) for clip in clips])
    start = length.cumsum(0) - length
    subject = np.array([name.split("/")[1] for name in names])
    source = np.full(len(names), "clips")
    return subject, source, start, length, _with_face(np.concatenate(clips)), _fps(file)


def _fps(file: NpzFile) -> float:
    fps = file["fps"]
    if fps.size != 1 or fps.dtype.kind not in "iuf" or not 1 <= fps.item() <= 1000:
        raise ConfigError(f"fps: expected one number of frames per second, 1 to 1000, got {fps}")
    return float(fps.item())


def _with_face(xyz: F32) -> F32:
    """Add nose tip and mid-ears to joints (N, 17, 3), the inverse of the recipes in `stream.skeletons`."""
    thorax, neck_nose, head_top = xyz[:, THORAX], xyz[:, NECK_NOSE], xyz[:, HEAD_TOP]
    nose = thorax + (neck_nose - thorax) / 0.67
    mid_ears = thorax + (head_top - thorax) / 1.55
    return np.concatenate([xyz[:, :17], np.stack([nose, mid_ears], axis=1)], axis=1)


def clip_weights(source: Names, subject: Names, length: Tensor, shares: dict[str, float]) -> Tensor:
    """Probability (clips,) float64 of each clip: the share of its source, divided among the subjects.

    Subjects are weighted by the square root of their frames, clips of one subject by their frames.
    """
    group = np.array([next((key for key in shares if name.startswith(key)), name) for name in source])
    frames = length.numpy().astype(np.float64)
    weight = frames.copy()
    for name in np.unique(group):
        in_group = group == name
        for person in np.unique(subject[in_group]):
            of_person = in_group & (subject == person)
            weight[of_person] *= frames[of_person].sum() ** -0.5
        weight[in_group] *= shares.get(str(name), 1.0) / weight[in_group].sum()
    return torch.from_numpy(weight / weight.sum())
