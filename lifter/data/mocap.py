"""Motion capture in memory: clips of 3D joints, drawn by source and subject, played at any speed.

Two file layouts are read, both `.npz` in metres with z up. Clips: every array named `clip/<name>`
is one clip (F, 17, 3), with a scalar `fps`. Packed: `root` (N, 3) float32, `rel` (N, J, 3) int16 in
0.1 mm, and per clip `start`, `length`, `source`, `subject`, with a scalar `fps`; joints 17 and 18, where
there are that many, are the tip of the nose and the middle of the ears.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lifter.data import safe_load as safe
from stream.errors import ConfigError

FACE = 2  # joints after the 17: nose tip, middle of the ears; a detector's head is made from them


@dataclass(frozen=True, slots=True)
class Motion:
    """Clips one after the other.

    xyz (N, 17 + 2, 3) float32 metres, z up; start, length (clips,) int64 in frames; weight (clips,)
    float64, the chance of a clip to be drawn; source (clips,) names; fps of all of them.
    """

    xyz: Tensor
    start: Tensor
    length: Tensor
    weight: Tensor
    source: np.ndarray
    fps: float

    def draw(self, clips: int, generator: torch.Generator) -> Tensor:
        """Indices (clips,) of randomly drawn clips."""
        return torch.multinomial(self.weight, clips, replacement=True, generator=generator)

    def play(self, clip: Tensor, first: Tensor, speed: Tensor, frames: int) -> Tensor:
        """Motion (B, F, 19, 3) of each clip (B,) from frame `first` (B,) on, `speed` (B,) frames per frame.

        A clip that ends is played back to its start and forward again: no jump, and no person frozen.
        """
        last = (self.length[clip] - 1).float()[:, None]
        time = first[:, None] + speed[:, None] * torch.arange(frames)
        time = (time + last).remainder(2 * last) - last  # a triangle wave between 0 and last
        time = time.abs().clamp(max=last)
        low = time.floor().minimum(last - 1)
        index = self.start[clip][:, None] + low.long()
        share = (time - low)[..., None, None]
        return torch.lerp(self.xyz[index], self.xyz[index + 1], share)


def read(path: Path, shares: dict[str, float] | None = None) -> Motion:
    """Read a motion file; `shares` says how often the sources whose names begin so are drawn."""
    if not path.is_file():
        raise ConfigError(f"motion: expected an .npz file at {path}, found none; pass its folder with --data")
    with safe.arrays(path) as file:
        if "rel" in file:
            motion = _packed(file)
        elif any(name.startswith("clip/") for name in file):
            motion = _clips(file)
        else:
            raise ConfigError(
                f"{path}: expected arrays clip/<name> (F, 17, 3) and fps, got {sorted(file)[:6]}"
            )
    subject, source, start, length, xyz, fps = motion
    weight = _weights(source, subject, length, shares or {})
    return Motion(torch.from_numpy(xyz), start, length, weight, source, fps)


_Parts = tuple[np.ndarray, np.ndarray, Tensor, Tensor, np.ndarray, float]


def _packed(file: np.lib.npyio.NpzFile) -> _Parts:
    xyz = file["rel"].astype(np.float32) / 1e4
    xyz += file["root"][:, None]
    xyz = xyz[:, : 17 + FACE] if xyz.shape[1] >= 17 + FACE else _with_face(xyz)
    start, length = torch.from_numpy(file["start"]), torch.from_numpy(file["length"])
    return file["subject"], file["source"], start, length, np.ascontiguousarray(xyz), _fps(file)


def _clips(file: np.lib.npyio.NpzFile) -> _Parts:
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


def _fps(file: np.lib.npyio.NpzFile) -> float:
    fps = file["fps"]
    if fps.size != 1 or fps.dtype.kind not in "iuf" or not 1 <= fps.item() <= 1000:
        raise ConfigError(f"fps: expected one number of frames per second, 1 to 1000, got {fps}")
    return float(fps.item())


def _with_face(xyz: np.ndarray) -> np.ndarray:
    """Add nose tip and mid-ears (N, 2, 3) to joints that lack them; 9 and 10 were made from them."""
    thorax, neck, head = xyz[:, 8], xyz[:, 9], xyz[:, 10]
    nose = thorax + (neck - thorax) / 0.67
    ears = thorax + (head - thorax) / 1.55
    return np.concatenate([xyz[:, :17], np.stack([nose, ears], axis=1)], axis=1)


def _weights(source: np.ndarray, subject: np.ndarray, length: Tensor, shares: dict[str, float]) -> Tensor:
    """Chance of each clip: its source's share, spread over subjects by the root of their frames."""
    group = np.array([next((key for key in shares if name.startswith(key)), name) for name in source])
    frames = length.numpy().astype(np.float64)
    weight = frames.copy()
    for name in np.unique(group):
        inside = group == name
        for person in np.unique(subject[inside]):
            chosen = inside & (subject == person)
            weight[chosen] *= frames[chosen].sum() ** -0.5
        weight[inside] *= shares.get(str(name), 1.0) / weight[inside].sum()
    return torch.from_numpy(weight / weight.sum())
