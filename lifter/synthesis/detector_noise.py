"""What a 2D detector makes of people: other places for joints, noise, swaps, gaps, scores that know of it."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lifter.synthesis.virtual_camera import View

_SIDES = ((1, 4), (2, 5), (3, 6), (11, 14), (12, 15), (13, 16))
_OTHER_SIDE = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13, 17, 18)
_LEGS, _ARMS = (1, 2, 3, 4, 5, 6), (11, 12, 13, 14, 15, 16)
# Larger for the ends of limbs and for hips, which cloth hides; the last two are nose tip and mid-ears.
_SPREAD = (1.0, 1.3, 1.0, 1.3, 1.3, 1.0, 1.3, 1.0, 1.0, 1.0, 1.0, 0.9, 1.0, 1.3, 0.9, 1.0, 1.3, 0.8, 0.8)

# Metres by which detectors place joints elsewhere than motion capture, besides hips and shoulders.
_PLACES = (
    (0.01, 0.012, 0.015, 0.015, 0.012, 0.015, 0.015, 0.01, 0.01, 0.02, 0.025) + (0.012,) * 6 + (0.02, 0.025)
)
_TRUNK = (0, 1, 4, 7, 8, 11, 14)


@dataclass(frozen=True, slots=True)
class _Dice:
    """Random numbers for B windows."""

    windows: int
    generator: torch.Generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(self.windows, *shape, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.windows, *shape, generator=self.generator)

    def chance(self, share: float) -> Tensor:
        return torch.rand(self.windows, generator=self.generator) < share

    def spans(self, share: Tensor, frames: int, joints: int, deviation: float) -> Tensor:
        """Bool (B, F, joints): a random `share` (B,) of the time, in spans of about `deviation` frames."""
        slow = smooth(self.normal(frames, joints), deviation)
        # share of a normal variable above -limit: the quantile function turns one into the other
        limit = torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6))
        return slow < limit[:, None, None]


def detect(view: View, generator: torch.Generator) -> Tensor:
    """Keypoints (B, F, 17, 3) float32, x px, y px, score, of views of 19 joints, as a detector gives them."""
    dice = _Dice(len(view.xyz), generator)
    xyz = _misplace(view.xyz, dice)
    xy = view.project(xyz)  # (B, F, 19, 2)
    metre_px = (view.focal_px[:, None] / view.xyz[:, :, 0, 2].clamp(min=0.3))[..., None, None]
    hidden = _hidden(view.xyz)
    error = _noise(hidden, dice)  # metres at the person
    score = _scores(hidden, error, dice)
    xy = xy + error * metre_px
    xy, score = _swap(xy, score, dice)
    xy, score = _like_h36m(xy, score, dice)
    xy, score = _cut(xy, score, view.size_wh, dice)
    score = _lose(score, dice)
    return torch.cat([fill(xy, score > 0), score[..., None]], dim=-1)


def smooth(white: Tensor, deviation: float) -> Tensor:
    """Noise (B, F, ...) correlated over `deviation` frames, of unit variance everywhere."""
    return torch.einsum("st,bt...->bs...", _kernel(white.shape[1], deviation), white)


@lru_cache(maxsize=64)
def _kernel(frames: int, deviation: float) -> Tensor:
    time = torch.arange(frames, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((time[:, None] - time) / deviation).square())
    return weights / torch.linalg.vector_norm(weights, dim=1, keepdim=True)


def _misplace(xyz: Tensor, dice: _Dice) -> Tensor:
    """Hips and shoulders where detectors put them: hips wider, shoulders nearer and lower."""
    xyz = xyz.clone()
    up = torch.nn.functional.normalize(xyz[:, :, 8] - xyz[:, :, 0], dim=-1)  # along the trunk
    side = torch.nn.functional.normalize(xyz[:, :, 14] - xyz[:, :, 11], dim=-1)
    front = torch.linalg.cross(side, up)
    for joints, centre, wide, lift in (
        ((1, 4), 0, (0.9, 1.6), (-0.06, 0.06)),
        ((11, 14), 8, (0.8, 1.1), (-0.07, 0.03)),
    ):
        middle = xyz[:, :, centre, None]
        factor, height, depth = dice.uniform(*wide), dice.uniform(*lift), dice.uniform(-0.03, 0.03)
        shift = up * height[:, None, None] + front * depth[:, None, None]
        xyz[:, :, joints] = (
            middle + (xyz[:, :, joints] - middle) * factor[:, None, None, None] + shift[:, :, None]
        )
    return xyz + xyz.new_tensor(_PLACES)[:, None] * dice.normal(1, xyz.shape[2], 3)


def _hidden(xyz: Tensor) -> Tensor:
    """How much of each joint (B, F, 19) another part of the body covers, 0 to 1."""
    plane = xyz[..., :2] / xyz[..., 2:].clamp(min=0.1) * xyz[:, :, :1, 2:]  # metres at the root's depth
    behind = torch.zeros(xyz.shape[:3])
    for occluder, radius in ((None, 0.09), (7, 0.14), (8, 0.14), (0, 0.13)):
        order = list(_OTHER_SIDE) if occluder is None else [occluder] * xyz.shape[2]
        near = torch.linalg.vector_norm(plane - plane[:, :, order], dim=-1)
        depth = xyz[..., 2] - xyz[:, :, order, 2]
        cover = torch.sigmoid((radius - near) / 0.025) * torch.sigmoid((depth - 0.12) / 0.03)
        behind = torch.maximum(behind, cover)
    return behind


def _noise(hidden: Tensor, dice: _Dice) -> Tensor:
    """Errors (B, F, 19, 2) in metres: a slow, a quick and a white part, more where hidden, and outliers."""
    frames, joints = hidden.shape[1:]
    level = 0.011 * torch.exp(0.6 * dice.normal())
    amplitude = (
        level[:, None, None] * torch.tensor(_SPREAD) * (1 + dice.uniform(1.0, 5.0)[:, None, None] * hidden)
    )
    parts = [dice.normal(frames, joints, 2) for _ in range(3)]
    white = dice.uniform(0.1, 0.6)[:, None, None, None]
    error = white * parts[0] + 0.5 * smooth(parts[1], 2.0) + 0.7 * smooth(parts[2], 12.0)
    error = error * amplitude[..., None]
    rate = torch.where(dice.chance(0.35), dice.uniform(0.0, 0.015), torch.zeros(dice.windows))
    outlier = torch.rand(hidden.shape, generator=dice.generator) < rate[:, None, None]
    return error + outlier[..., None] * 0.2 * dice.normal(frames, joints, 2)


def _scores(hidden: Tensor, error: Tensor, dice: _Dice) -> Tensor:
    """Scores (B, F, 19) in 0..1, lower where hidden or wrong, as trustworthy as the window's detector is."""
    size = torch.linalg.vector_norm(error, dim=-1)
    strict = dice.uniform(0.0, 5.0)[:, None, None]
    wary = dice.uniform(0.1, 0.9)[:, None, None]
    wobble = 0.06 * smooth(dice.normal(*hidden.shape[1:]), 6.0)
    score = 1.0 - strict * size - wary * hidden - wobble.abs()
    score = dice.uniform(0.75, 1.0)[:, None, None] * score.clamp(0.02, 1.0)
    # MediaPipe hardly ever says less than 0.97 of what it sees, nor of a hidden hip or shoulder.
    sure = score.sqrt().sqrt()
    sure[:, :, _TRUNK] = sure[:, :, _TRUNK].sqrt().sqrt()
    score = torch.where(dice.chance(0.5)[:, None, None], sure, score)
    blind = dice.chance(0.08)[:, None, None]  # and some say 1 of everything
    return torch.where(blind, torch.ones_like(score), score)


def _swap(xy: Tensor, score: Tensor, dice: _Dice) -> tuple[Tensor, Tensor]:
    """Confuse left and right of legs or arms for spans of time."""
    share = torch.where(dice.chance(0.2), dice.uniform(0.0, 0.15), torch.zeros(dice.windows))
    chosen = dice.spans(share, xy.shape[1], 2, 4.0)  # (B, F, legs and arms)
    mask = torch.zeros(score.shape, dtype=torch.bool)
    mask[:, :, _LEGS] = chosen[..., :1]
    mask[:, :, _ARMS] = chosen[..., 1:]
    order = list(_OTHER_SIDE)
    return torch.where(mask[..., None], xy[:, :, order], xy), torch.where(mask, score[:, :, order], score)


def _like_h36m(xy: Tensor, score: Tensor, dice: _Dice) -> tuple[Tensor, Tensor]:
    """The 17 joints as they are made from a detector's (`stream.skeletons`); some detectors give them all."""
    made, low = xy[:, :, :17].clone(), score[:, :, :17].clone()
    hips, shoulders = xy[:, :, [1, 4]].mean(dim=2), xy[:, :, [11, 14]].mean(dim=2)
    low[:, :, 0], low[:, :, 8] = score[:, :, [1, 4]].amin(dim=2), score[:, :, [11, 14]].amin(dim=2)
    made[:, :, 0], made[:, :, 8] = hips, shoulders
    made[:, :, 7], low[:, :, 7] = 0.43 * shoulders + 0.57 * hips, low[:, :, [0, 8]].amin(dim=2)
    made[:, :, 9], low[:, :, 9] = (
        0.67 * xy[:, :, 17] + 0.33 * shoulders,
        torch.minimum(score[:, :, 17], low[:, :, 8]),
    )
    made[:, :, 10] = 1.55 * xy[:, :, 18] - 0.55 * shoulders
    low[:, :, 10] = torch.minimum(score[:, :, 18], low[:, :, 8])
    as_given = dice.chance(0.15)[:, None, None]
    return torch.where(as_given[..., None], xy[:, :, :17], made), torch.where(as_given, score[:, :, :17], low)


def _cut(xy: Tensor, score: Tensor, size_wh: Tensor, dice: _Dice) -> tuple[Tensor, Tensor]:
    """Joints outside the image: guessed with a low score by some detectors, not given by others."""
    edge = size_wh[:, None, None]
    outside = ((xy < 0) | (xy > edge)).any(dim=-1)
    guess = dice.chance(0.6)[:, None, None]
    low = score * dice.uniform(0.02, 0.5)[:, None, None] * guess
    # A guess is drawn towards the border, and the further out the worse.
    held = torch.minimum(xy.clamp(min=0), edge)
    wrong = 0.15 * smooth(dice.normal(*xy.shape[1:]), 10.0) * (xy - held).abs()
    pulled = torch.lerp(xy, held, dice.uniform(0.0, 0.6)[:, None, None, None]) + wrong
    return torch.where(outside[..., None], pulled, xy), torch.where(outside, low, score)


def _lose(score: Tensor, dice: _Dice) -> Tensor:
    """Score 0 for joints and persons that are not found for spans, and for limbs that never are."""
    frames, joints = score.shape[1:]
    none = torch.zeros(dice.windows)
    share = torch.where(dice.chance(0.3), dice.uniform(0.0, 0.3), none)
    lost = dice.spans(share, frames, joints, 6.0)
    gone = torch.where(dice.chance(0.15), dice.uniform(0.0, 0.12), none)
    lost |= dice.spans(gone, frames, 1, 3.0)
    drop = dice.chance(0.2)  # low scores withheld, as a threshold does
    lost |= drop[:, None, None] & (score < dice.uniform(0.1, 0.5)[:, None, None])
    for limb in (_LEGS, (2, 3, 5, 6), (13,), (16,), (12, 13), (15, 16), (9, 10)):
        never = dice.chance(0.02)[:, None, None]
        lost[:, :, limb] |= never
    return score.masked_fill(lost, 0.0)


def fill(xy: Tensor, seen: Tensor) -> Tensor:
    """Fill what is not `seen` (B, F, J) of xy (B, F, J, 2) as the ring buffer does.

    Interpolated in time, held before the first and after the last sighting; a joint that was never
    seen stands in the middle of those that were.
    """
    frames = xy.shape[1]
    time = torch.arange(frames)[None, :, None].expand(seen.shape)
    before = torch.where(seen, time, -1).cummax(dim=1).values
    after = torch.where(seen, time, frames).flip(1).cummin(dim=1).values.flip(1)
    low = torch.where(before < 0, after, before).clamp(max=frames - 1)
    high = torch.where(after >= frames, before, after).clamp(min=0)
    share = ((time - low) / (high - low).clamp(min=1)).clamp(0, 1)[..., None]
    index = torch.stack([low, high])[..., None].expand(2, *xy.shape)
    filled = torch.lerp(xy.gather(1, index[0]), xy.gather(1, index[1]), share)
    weight = seen.float()[..., None]
    middle = (xy * weight).sum(dim=2, keepdim=True) / weight.sum(dim=2, keepdim=True).clamp(min=1)
    return torch.where(seen.any(dim=1, keepdim=True)[..., None], filled, middle.expand(xy.shape))
