"""Simulate a 2D detector: joint definitions of its own, noise, left-right swaps, gaps, and scores.

Every window has a detector of its own, whose habits are random numbers per window.
"""

import torch
from torch import Tensor

from lifter.data.mocap_joints import (
    ARMS,
    HEAD_TOP,
    HIPS,
    LEFT_SHOULDER,
    LEGS,
    MID_EARS,
    NECK_NOSE,
    NOSE,
    OTHER_SIDE,
    PELVIS,
    RIGHT_SHOULDER,
    SHOULDERS,
    SPINE,
    THORAX,
    both_sides,
    indices,
)
from lifter.normalise import constant
from lifter.synthesis.detector_habits import (
    NO_HABITS,
    DetectorHabits,
    cut_people,
    exchange_body,
    leave_ghosts,
    merge_people,
    move_joints,
)
from lifter.synthesis.fill_gaps import fill_missing_joints
from lifter.synthesis.noise import WindowRandom, smooth_noise
from lifter.synthesis.virtual_camera import View

# Relative noise per joint, in the order of `mocap_joints.JOINTS`. Clothes hide the hips.
_NOISE_LEVEL = (1.0, 1.3, 1.0, 1.3, 1.3, 1.0, 1.3, 1.0, 1.0, 1.0, 1.0, 0.9, 1.0, 1.3, 0.9, 1.0, 1.3, 0.8, 0.8)
# Deviation in metres between the joint definitions of detectors and of motion capture, in the same order.
_DEFINITION_M = (
    (0.01, 0.012, 0.015, 0.015, 0.012, 0.015, 0.015, 0.01, 0.01, 0.02, 0.025) + (0.012,) * 6 + (0.02, 0.025)
)
_TRUNK = (PELVIS, *HIPS, SPINE, THORAX, *SHOULDERS)
# Groups of joints that some detectors never find.
_LIMBS = (
    LEGS, both_sides("knee") + both_sides("ankle"), indices("left_wrist"), indices("right_wrist"),
    indices("left_elbow", "left_wrist"), indices("right_elbow", "right_wrist"), (NECK_NOSE, HEAD_TOP),
)  # fmt: skip


def simulate_detector(view: View, generator: torch.Generator, habits: DetectorHabits = NO_HABITS) -> Tensor:
    """Keypoints (B, F, 17, 3) float32, x px, y px, score 0..1, of a view of 19 joints; gaps are filled.

    habits: further errors; those that are off draw no random numbers.
    """
    random = WindowRandom(len(view.xyz), generator)
    xyz = move_joints(_to_detector_joints(view.xyz, random), habits, random)
    xy = view.project(xyz)  # (B, F, 19, 2)
    px_per_m = (view.focal_px[:, None] / view.xyz[:, :, 0, 2].clamp(min=0.3))[..., None, None]
    occlusion = _occlusion(view.xyz)
    error_m = _errors_m(occlusion, random)
    score = _scores(occlusion, error_m, random)
    xy = xy + error_m * px_per_m
    xy, score = _swap_left_right(xy, score, random)
    xy, score = exchange_body(xy, score, habits, random)
    xy, score = merge_people(xy, score, habits, random)
    xy, score = cut_people(xy, score, habits, random)
    xy, score = leave_ghosts(xy, score, habits, random)
    xy, score = _to_h36m17(xy, score, random)
    xy, score = _treat_joints_outside_image(xy, score, view.size_wh, random)
    score = _drop_joints(score, random)
    return torch.cat([fill_missing_joints(xy, score > 0), score[..., None]], dim=-1)


def _to_detector_joints(xyz: Tensor, random: WindowRandom) -> Tensor:
    """Move joints to where detectors put them: hips further apart, shoulders nearer and lower."""
    xyz = xyz.clone()
    up = torch.nn.functional.normalize(xyz[:, :, THORAX] - xyz[:, :, PELVIS], dim=-1)
    side = torch.nn.functional.normalize(xyz[:, :, RIGHT_SHOULDER] - xyz[:, :, LEFT_SHOULDER], dim=-1)
    front = torch.linalg.cross(side, up)
    for joints, centre_joint, width_range, height_range in (
        (HIPS, PELVIS, (0.9, 1.6), (-0.06, 0.06)),
        (SHOULDERS, THORAX, (0.8, 1.1), (-0.07, 0.03)),
    ):
        centre = xyz[:, :, centre_joint, None]
        width, height = random.uniform(*width_range), random.uniform(*height_range)
        depth = random.uniform(-0.03, 0.03)
        shift = up * height[:, None, None] + front * depth[:, None, None]
        index = constant(joints, xyz.device)
        xyz[:, :, index] = (
            centre + (xyz[:, :, index] - centre) * width[:, None, None, None] + shift[:, :, None]
        )
    return xyz + constant(_DEFINITION_M, xyz.device)[:, None] * random.normal(1, xyz.shape[2], 3)


def _occlusion(xyz: Tensor) -> Tensor:
    """How far another part of the body covers each joint, (B, F, 19) from 0 to 1."""
    plane = xyz[..., :2] / xyz[..., 2:].clamp(min=0.1) * xyz[:, :, :1, 2:]  # metres at the root's depth
    occlusion = torch.zeros(xyz.shape[:3])
    for occluder, radius in ((None, 0.09), (SPINE, 0.14), (THORAX, 0.14), (PELVIS, 0.13)):
        order = constant(OTHER_SIDE if occluder is None else (occluder,) * len(OTHER_SIDE), xyz.device)
        distance = torch.linalg.vector_norm(plane - plane[:, :, order], dim=-1)
        behind = xyz[..., 2] - xyz[:, :, order, 2]
        cover = torch.sigmoid((radius - distance) / 0.025) * torch.sigmoid((behind - 0.12) / 0.03)
        occlusion = torch.maximum(occlusion, cover)
    return occlusion


def _errors_m(occlusion: Tensor, random: WindowRandom) -> Tensor:
    """Errors (B, F, 19, 2) in metres at the person: slow, fast and white noise, and outliers.

    Occluded joints have larger errors.
    """
    frames, joints = occlusion.shape[1:]
    level = 0.011 * torch.exp(0.6 * random.normal())
    occluded = 1 + random.uniform(1.0, 5.0)[:, None, None] * occlusion
    amplitude = level[:, None, None] * constant(_NOISE_LEVEL, occlusion.device) * occluded
    parts = [random.normal(frames, joints, 2) for _ in range(3)]
    white = random.uniform(0.1, 0.6)[:, None, None, None]
    error = white * parts[0] + 0.5 * smooth_noise(parts[1], 2.0) + 0.7 * smooth_noise(parts[2], 12.0)
    error = error * amplitude[..., None]
    rate = torch.where(random.chance(0.35), random.uniform(0.0, 0.015), torch.zeros(random.windows))
    outlier = torch.rand(occlusion.shape, generator=random.generator) < rate[:, None, None]
    return error + outlier[..., None] * 0.2 * random.normal(frames, joints, 2)


def _scores(occlusion: Tensor, error_m: Tensor, random: WindowRandom) -> Tensor:
    """Scores (B, F, 19) in 0..1, lower for occluded or wrong joints, as far as the detector knows them."""
    size_m = torch.linalg.vector_norm(error_m, dim=-1)
    error_weight = random.uniform(0.0, 5.0)[:, None, None]
    occlusion_weight = random.uniform(0.1, 0.9)[:, None, None]
    wobble = 0.06 * smooth_noise(random.normal(*occlusion.shape[1:]), 6.0)
    score = 1.0 - error_weight * size_m - occlusion_weight * occlusion - wobble.abs()
    score = random.uniform(0.75, 1.0)[:, None, None] * score.clamp(0.02, 1.0)
    # MediaPipe's scores are rarely below 0.97 for visible joints, and for occluded hips and shoulders.
    confident = score.sqrt().sqrt()
    trunk = constant(_TRUNK, score.device)
    confident[:, :, trunk] = confident[:, :, trunk].sqrt().sqrt()
    score = torch.where(random.chance(0.5)[:, None, None], confident, score)
    always_one = random.chance(0.08)[:, None, None]  # some detectors give score 1 to every joint
    return torch.where(always_one, torch.ones_like(score), score)


def _swap_left_right(xy: Tensor, score: Tensor, random: WindowRandom) -> tuple[Tensor, Tensor]:
    """Exchange left and right of legs or arms for spans of time."""
    share = torch.where(random.chance(0.2), random.uniform(0.0, 0.15), torch.zeros(random.windows))
    swapped = random.spans(share, xy.shape[1], 2, 4.0)  # (B, F, 2) legs and arms
    mask = torch.zeros(score.shape, dtype=torch.bool)
    mask[:, :, constant(LEGS, mask.device)] = swapped[..., :1]
    mask[:, :, constant(ARMS, mask.device)] = swapped[..., 1:]
    order = constant(OTHER_SIDE, xy.device)
    return torch.where(mask[..., None], xy[:, :, order], xy), torch.where(mask, score[:, :, order], score)


def _to_h36m17(xy: Tensor, score: Tensor, random: WindowRandom) -> tuple[Tensor, Tensor]:
    """The 17 joints, derived from a detector's as in `stream.skeletons`, or given by the detector itself."""
    derived, low = xy[:, :, :17].clone(), score[:, :, :17].clone()
    hip_index, shoulder_index = constant(HIPS, xy.device), constant(SHOULDERS, xy.device)
    hips, shoulders = xy[:, :, hip_index].mean(dim=2), xy[:, :, shoulder_index].mean(dim=2)
    low[:, :, PELVIS] = score[:, :, hip_index].amin(dim=2)
    low[:, :, THORAX] = score[:, :, shoulder_index].amin(dim=2)
    derived[:, :, PELVIS], derived[:, :, THORAX] = hips, shoulders
    derived[:, :, SPINE] = 0.43 * shoulders + 0.57 * hips
    low[:, :, SPINE] = torch.minimum(low[:, :, PELVIS], low[:, :, THORAX])
    derived[:, :, NECK_NOSE] = 0.67 * xy[:, :, NOSE] + 0.33 * shoulders
    low[:, :, NECK_NOSE] = torch.minimum(score[:, :, NOSE], low[:, :, THORAX])
    derived[:, :, HEAD_TOP] = 1.55 * xy[:, :, MID_EARS] - 0.55 * shoulders
    low[:, :, HEAD_TOP] = torch.minimum(score[:, :, MID_EARS], low[:, :, THORAX])
    direct = random.chance(0.15)[:, None, None]
    return torch.where(direct[..., None], xy[:, :, :17], derived), torch.where(direct, score[:, :, :17], low)


def _treat_joints_outside_image(
    xy: Tensor, score: Tensor, size_wh: Tensor, random: WindowRandom
) -> tuple[Tensor, Tensor]:
    """Joints outside the image: some detectors guess them with a low score, others do not give them."""
    edge = size_wh[:, None, None]
    outside = ((xy < 0) | (xy > edge)).any(dim=-1)
    guessed = random.chance(0.6)[:, None, None]
    low = score * random.uniform(0.02, 0.5)[:, None, None] * guessed
    # Guesses are pulled towards the border, and their error grows with the distance from it.
    border = torch.minimum(xy.clamp(min=0), edge)
    error = 0.15 * smooth_noise(random.normal(*xy.shape[1:]), 10.0) * (xy - border).abs()
    pulled = torch.lerp(xy, border, random.uniform(0.0, 0.6)[:, None, None, None]) + error
    return torch.where(outside[..., None], pulled, xy), torch.where(outside, low, score)


def _drop_joints(score: Tensor, random: WindowRandom) -> Tensor:
    """Score 0 for joints and people missing for spans of time, for low scores, and for limbs never found."""
    frames, joints = score.shape[1:]
    none = torch.zeros(random.windows)
    joint_share = torch.where(random.chance(0.3), random.uniform(0.0, 0.3), none)
    dropped = random.spans(joint_share, frames, joints, 6.0)
    person_share = torch.where(random.chance(0.15), random.uniform(0.0, 0.12), none)
    dropped |= random.spans(person_share, frames, 1, 3.0)
    threshold = random.chance(0.2)  # some detectors do not give joints of low score
    dropped |= threshold[:, None, None] & (score < random.uniform(0.1, 0.5)[:, None, None])
    for limb in _LIMBS:
        dropped[:, :, constant(limb, dropped.device)] |= random.chance(0.02)[:, None, None]
    return score.masked_fill(dropped, 0.0)
