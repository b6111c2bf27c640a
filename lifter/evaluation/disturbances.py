"""Disturbances of 2D keypoints, each alone and of a chosen strength, for robustness curves.

All functions take and return keypoints (L, 17, 3) float32: x px, y px, score. A missing joint has score 0;
its position is filled in when a window is cut, as in the live pipeline.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from lifter.layers import Mirror
from lifter.synthesis.noise import smooth_noise
from lifter.synthesis.synthetic_clips import SyntheticClip
from stream.messages import F32

GAP_FRAMES = 6.0  # standard deviation of the smoothing that makes gaps: their typical length
OUTLIER_M = 0.3  # standard deviation of an outlier's shift in x and in y, metres at the person


def hide_joints(keypoints: F32, joints: tuple[int, ...]) -> F32:
    """Keypoints with some joints missing in all frames."""
    disturbed = keypoints.copy()
    disturbed[:, list(joints), 2] = 0.0
    return disturbed


def drop_joints(keypoints: F32, share: float, generator: torch.Generator) -> F32:
    """Keypoints with a share of the joints missing, in gaps of several frames."""
    noise = smooth_noise(torch.randn(1, *keypoints.shape[:2], generator=generator), GAP_FRAMES)[0]
    disturbed = keypoints.copy()
    disturbed[(noise < torch.special.ndtri(torch.tensor(share))).numpy(), 2] = 0.0
    return disturbed


def add_outliers(clip: SyntheticClip, share: float, generator: torch.Generator) -> F32:
    """Exact keypoints of which a share, drawn anew in every frame, is far off, with a score of 1."""
    keypoints = clip.exact()
    outlier = torch.rand(keypoints.shape[:2], generator=generator).numpy() < share
    shift = torch.randn(*keypoints.shape[:2], 2, generator=generator).numpy()
    keypoints[..., :2] += outlier[..., None] * shift * OUTLIER_M * clip.metre_px[:, None, None]
    return keypoints


def scale_noise(clip: SyntheticClip, factor: float) -> F32:
    """The detector's keypoints with its position errors times `factor`; gaps and scores are kept."""
    keypoints = clip.keypoints.copy()
    keypoints[..., :2] = clip.clean + factor * (keypoints[..., :2] - clip.clean)
    return keypoints


def change_rate(clip: SyntheticClip, factor: float) -> tuple[F32, F32]:
    """Keypoints (N, 17, 3) and truth (N, 17, 3) of a camera with `factor` times the clip's frame rate.

    Positions between frames are interpolated linearly; detector errors are those of the nearest frame.
    """
    time = np.arange(0, len(clip.truth) - 0.999, 1 / factor)
    low = np.minimum(time.astype(int), len(clip.truth) - 2)
    share = (time - low).astype(np.float32)[:, None, None]
    nearest = np.round(time).astype(int)

    def interpolate(track: F32) -> F32:
        between: F32 = (1 - share) * track[low] + share * track[low + 1]
        return between

    keypoints = clip.keypoints[nearest].copy()
    keypoints[..., :2] += interpolate(clip.clean) - clip.clean[nearest]
    return keypoints, interpolate(clip.truth)


def resample(keypoints: F32, factor: float) -> F32:
    """Keypoints (N, 17, 3) at `factor` times the rate: interpolated, with the lower of both scores."""
    time = np.arange(0, len(keypoints) - 0.999, 1 / factor)
    low = np.minimum(time.astype(int), len(keypoints) - 2)
    share = (time - low).astype(np.float32)[:, None, None]
    between: F32 = (1 - share) * keypoints[low] + share * keypoints[low + 1]
    lower_score = np.minimum(keypoints[low, :, 2], keypoints[low + 1, :, 2])
    on_frame = np.abs(time - np.round(time)) < 1e-6
    between[..., 2] = np.where(on_frame[:, None], between[..., 2], lower_score)
    return between


def roll_camera(clip: SyntheticClip, roll_deg: float) -> tuple[F32, F32]:
    """Keypoints and truth, both (L, 17, 3), of a camera rolled around its viewing axis."""
    angle = np.radians(roll_deg)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    keypoints, truth = clip.keypoints.copy(), clip.truth.copy()
    middle_px = np.array(clip.size_wh, np.float32) / 2
    keypoints[..., :2] = (keypoints[..., :2] - middle_px) @ rotation + middle_px
    truth[..., :2] = truth[..., :2] @ rotation
    return keypoints, truth


def mirror_keypoints(keypoints: F32, width_px: int) -> F32:
    """Keypoints of the mirrored image: x reversed, left and right joints exchanged."""
    mirrored = mirror_points(keypoints)
    mirrored[..., 0] += width_px
    return mirrored


def mirror_points(points: F32) -> F32:
    """Points (L, 17, C) with x negated, left and right joints exchanged."""
    mirrored: F32 = Mirror("h36m17")(torch.from_numpy(points)[None])[0].numpy().copy()
    return mirrored


def stand_still(clip: SyntheticClip, frames: int, noisy: bool) -> F32:
    """Keypoints (frames, 17, 3) of a person who stands still in the pose of the clip's middle frame.

    noisy: with the detector errors of the clip's frames, forwards and backwards; else exact.
    """
    middle = len(clip.truth) // 2
    if not noisy:
        return np.repeat(clip.exact()[middle : middle + 1], frames, axis=0)
    index = _forwards_and_backwards(len(clip.truth), frames)
    keypoints = clip.keypoints[index].copy()
    keypoints[..., :2] += clip.clean[middle] - clip.clean[index]
    return keypoints


def _forwards_and_backwards(length: int, frames: int) -> NDArray[np.int64]:
    """Frame indices (frames,) that run from 0 to length - 1 and back, again and again."""
    time = np.arange(frames) % max(1, 2 * (length - 1))
    return np.minimum(time, 2 * (length - 1) - time)
