"""Habits of real detectors that a recipe may add to the simulated detector; all are off by default.

The offsets are drawn from ranges around those of MediaPipe's joints from measured ones
(`benchmarks/detector_offsets.py`): hips lie 21 to 49 mm too low, shoulders 0 to 24, the top of the head 25 to
74, knees -3 to 21.
"""

import msgspec
import torch
from torch import Tensor

from lifter.data.mocap_joints import (
    HEAD_TOP,
    HIPS,
    LEFT_ARM,
    LEFT_LEG,
    LEGS,
    MID_EARS,
    NOSE,
    OTHER_SIDE,
    PELVIS,
    RIGHT_ARM,
    RIGHT_LEG,
    SHOULDERS,
    THORAX,
    both_sides,
)
from lifter.normalise import constant
from lifter.synthesis.noise import WindowRandom, smooth_noise
from stream.errors import ConfigError

# Joints and the least and largest distance in metres by which a detector puts them too low.
_TOO_LOW_M = (
    (HIPS, 0.021, 0.049),
    (SHOULDERS, 0.0, 0.024),
    ((MID_EARS, HEAD_TOP), 0.025, 0.074),
    (both_sides("knee"), -0.003, 0.021),
)
# Limbs that a detector may take from another person.
_LIMBS = (LEGS, LEFT_ARM, RIGHT_ARM, LEFT_LEG, RIGHT_LEG, (NOSE, MID_EARS))
_EXCHANGED_SHARE = (0.02, 0.3)  # of the frames of a window with exchanges of the whole body


class DetectorHabits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `data.detector` of a recipe for motion capture.

    exchanges: share of windows in which left and right of the whole body are exchanged for spans of time; in
    half of them the scores fall, in the others they do not. low_joints: share of windows in which hips,
    shoulders, head and knees are as much too low as real detectors put them. knee_wobble_m: deviation of
    knees to the side, in metres. ghosts: share of windows in which a person that is missing for a moment
    stays at the last place with high scores. merged: share of windows in which a limb lies on another person
    for spans of time, with unchanged scores. cut: share of windows in which something in front of the person
    hides all joints below a line, whose places the detector guesses with low scores.
    """

    exchanges: float = 0.0
    low_joints: float = 0.0
    knee_wobble_m: float = 0.0
    ghosts: float = 0.0
    merged: float = 0.0
    cut: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"data.detector.{name}: expected a number in 0..1, got {getattr(self, name)}"
                )


NO_HABITS = DetectorHabits()


def move_joints(xyz: Tensor, habits: DetectorHabits, random: WindowRandom) -> Tensor:
    """Joints (B, F, 19, 3) m where a detector with these habits puts them."""
    if not habits.low_joints and not habits.knee_wobble_m:
        return xyz
    xyz = xyz.clone()
    up = torch.nn.functional.normalize(xyz[:, :, THORAX] - xyz[:, :, PELVIS], dim=-1)
    if habits.low_joints:
        has_low_joints = random.chance(habits.low_joints).float()
        for joints, low_m, high_m in _TOO_LOW_M:
            drop_m = has_low_joints * random.uniform(low_m, high_m)
            xyz[:, :, constant(joints, xyz.device)] -= (drop_m[:, None, None] * up)[:, :, None]
    if habits.knee_wobble_m:
        knees = constant(both_sides("knee"), xyz.device)
        left, right = xyz[:, :, constant(HIPS, xyz.device)].unbind(dim=2)
        side = torch.nn.functional.normalize(left - right, dim=-1)[:, :, None]
        wobble = smooth_noise(random.normal(xyz.shape[1], len(knees)), 6.0)[..., None]
        xyz[:, :, knees] += habits.knee_wobble_m * wobble * side
    return xyz


def exchange_body(
    xy: Tensor, score: Tensor, habits: DetectorHabits, random: WindowRandom
) -> tuple[Tensor, Tensor]:
    """Keypoints (B, F, 19, 2) and scores (B, F, 19) whose left and right are exchanged for spans of time."""
    if not habits.exchanges:
        return xy, score
    share = torch.where(
        random.chance(habits.exchanges), random.uniform(*_EXCHANGED_SHARE), torch.zeros(random.windows)
    )
    exchanged = random.spans(share, xy.shape[1], 1, 8.0)  # (B, F, 1)
    honest = random.chance(0.5)[:, None, None]
    order = constant(OTHER_SIDE, xy.device)
    score = torch.where(exchanged, score[:, :, order], score)
    score = torch.where(exchanged & honest, score * random.uniform(0.3, 0.8)[:, None, None], score)
    return torch.where(exchanged[..., None], xy[:, :, order], xy), score


def leave_ghosts(
    xy: Tensor, score: Tensor, habits: DetectorHabits, random: WindowRandom
) -> tuple[Tensor, Tensor]:
    """Keypoints and scores that stay the same for spans of time, as a detector's tracking leaves them."""
    if not habits.ghosts:
        return xy, score
    share = torch.where(random.chance(habits.ghosts), random.uniform(0.02, 0.15), torch.zeros(random.windows))
    frozen = random.spans(share, xy.shape[1], 1, 5.0)[..., 0]  # (B, F)
    frame = torch.arange(xy.shape[1]).expand_as(frozen)
    last = torch.where(frozen, torch.zeros_like(frame), frame).cummax(dim=1).values[..., None]
    held = xy.gather(1, last[..., None].expand_as(xy))
    return held, score.gather(1, last.expand_as(score))


def merge_people(
    xy: Tensor, score: Tensor, habits: DetectorHabits, random: WindowRandom
) -> tuple[Tensor, Tensor]:
    """Keypoints (B, F, 19, 2) of which a limb lies on a person beside for spans of time, and the same scores.

    The other person is that of the window before, in the same size, half a body to two bodies away.
    """
    if not habits.merged or random.windows < 2:
        return xy, score
    share = torch.where(random.chance(habits.merged), random.uniform(0.03, 0.3), torch.zeros(random.windows))
    merged = random.spans(share, xy.shape[1], 1, 8.0)  # (B, F, 1)
    limb = torch.randint(len(_LIMBS), (random.windows,), generator=random.generator)
    on_other = torch.zeros(random.windows, xy.shape[2], dtype=torch.bool)
    for number, joints in enumerate(_LIMBS):
        on_other[:, list(joints)] |= (limb == number)[:, None]
    pelvis = xy[:, :, PELVIS, None]
    spread = _spread(xy)
    other = (xy - pelvis).roll(1, dims=0) * (spread / spread.roll(1, dims=0))
    angle, distance = random.uniform(-0.5, 0.5), random.uniform(0.5, 2.0)
    side = torch.where(random.chance(0.5), 1.0, -1.0)
    offset = torch.stack([side * angle.cos(), angle.sin()], dim=-1) * distance[:, None]
    other = other + pelvis + 2 * spread * offset[:, None, None]
    return torch.where((merged & on_other[:, None])[..., None], other, xy), score


def _spread(xy: Tensor) -> Tensor:
    """(B, 1, 1, 1) px: root mean square distance of the joints from their mean, over the window."""
    deviation = xy - xy.mean(dim=2, keepdim=True)
    return deviation.square().sum(dim=-1).mean(dim=(1, 2)).sqrt().clamp(min=1.0)[:, None, None, None]


def cut_people(
    xy: Tensor, score: Tensor, habits: DetectorHabits, random: WindowRandom
) -> tuple[Tensor, Tensor]:
    """Keypoints and scores of people whose joints below a line are hidden, by a table for example.

    The line is fixed in the image, between the shoulders and the ankles of the middle frame. Hidden joints
    are pulled to the line and get low scores.
    """
    if not habits.cut:
        return xy, score
    middle = xy[:, xy.shape[1] // 2, :, 1]
    top, bottom = middle[:, list(SHOULDERS)].mean(dim=1), middle[:, list(both_sides("ankle"))].mean(dim=1)
    line = torch.lerp(top, bottom, random.uniform(0.2, 0.9))[:, None, None]
    is_cut = random.chance(habits.cut) & (bottom > top)
    hidden = (xy[..., 1] > line) & is_cut[:, None, None]
    pulled = torch.lerp(xy[..., 1], line.expand_as(hidden), random.uniform(0.2, 0.9)[:, None, None])
    y = torch.where(hidden, pulled, xy[..., 1])
    low = score * random.uniform(0.0, 0.5)[:, None, None]
    return torch.stack([xy[..., 0], y], dim=-1), torch.where(hidden, low, score)
