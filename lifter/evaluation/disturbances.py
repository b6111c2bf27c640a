"""What can go wrong with 2D keypoints, one thing at a time and as much of it as asked: for robustness curves.

All take and give keypoints (L, 17, 3) float32: x px, y px, score. What is not seen has score 0; its place is
filled in when a window is cut, as the live system does.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from lifter.layers import Mirror
from lifter.synthesis.noise import smooth_noise
from lifter.synthesis.test_clips import SyntheticClip as Take
from stream.messages import F32

LOWER_BODY = (0, 1, 2, 3, 4, 5, 6)
RIGHT_SIDE = (1, 2, 3, 14, 15, 16)
SPAN_FRAMES = 6.0  # joints are lost for about so long
OUTLIER_M = 0.3  # standard deviation of a wrong joint's place, in metres at the person


def hidden(keypoints: F32, joints: tuple[int, ...]) -> F32:
    """Some joints never seen."""
    lost = keypoints.copy()
    lost[:, list(joints), 2] = 0.0
    return lost


def missing(keypoints: F32, share: float, generator: torch.Generator) -> F32:
    """A share of the joints lost, for spans of time."""
    slow = smooth_noise(torch.randn(1, *keypoints.shape[:2], generator=generator), SPAN_FRAMES)[0]
    lost = keypoints.copy()
    lost[(slow < torch.special.ndtri(torch.tensor(share))).numpy(), 2] = 0.0
    return lost


def outliers(take: Take, share: float, generator: torch.Generator) -> F32:
    """Exact keypoints of which a share, drawn anew in every frame, lie elsewhere with a score of 1."""
    keypoints = take.exact()
    wrong = torch.rand(keypoints.shape[:2], generator=generator).numpy() < share
    away = torch.randn(*keypoints.shape[:2], 2, generator=generator).numpy()
    keypoints[..., :2] += wrong[..., None] * away * OUTLIER_M * take.metre_px[:, None, None]
    return keypoints


def noisy(take: Take, factor: float) -> F32:
    """The detector's keypoints with so many times its errors of place; its gaps and scores stay."""
    keypoints = take.keypoints.copy()
    keypoints[..., :2] = take.clean + factor * (keypoints[..., :2] - take.clean)
    return keypoints


def at_rate(take: Take, factor: float) -> tuple[F32, F32]:
    """Keypoints (N, 17, 3) and truth (N, 17, 3) of a camera with `factor` times as many frames per second.

    The person moves between frames along straight lines; the detector errs as it did in the nearest frame.
    """
    time = np.arange(0, len(take.truth) - 0.999, 1 / factor)
    low = np.minimum(time.astype(int), len(take.truth) - 2)
    share = (time - low).astype(np.float32)[:, None, None]
    nearest = np.round(time).astype(int)

    def between(track: F32) -> F32:
        return (1 - share) * track[low] + share * track[low + 1]

    keypoints = take.keypoints[nearest].copy()
    keypoints[..., :2] += between(take.clean) - take.clean[nearest]
    return keypoints, between(take.truth)


def resampled(keypoints: F32, factor: float) -> F32:
    """Keypoints (N, 17, 3) at `factor` times the rate: interpolated, of two scores the lower."""
    time = np.arange(0, len(keypoints) - 0.999, 1 / factor)
    low = np.minimum(time.astype(int), len(keypoints) - 2)
    share = (time - low).astype(np.float32)[:, None, None]
    between = (1 - share) * keypoints[low] + share * keypoints[low + 1]
    lower = np.minimum(keypoints[low, :, 2], keypoints[low + 1, :, 2])
    on_frame = np.abs(time - np.round(time)) < 1e-6
    between[..., 2] = np.where(on_frame[:, None], between[..., 2], lower)
    return between


def rolled(take: Take, degrees: float) -> tuple[F32, F32]:
    """Keypoints and truth, both (L, 17, 3), of a camera turned by so much around its viewing axis."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    keypoints, truth = take.keypoints.copy(), take.truth.copy()
    middle = np.array(take.size_wh, np.float32) / 2
    keypoints[..., :2] = (keypoints[..., :2] - middle) @ turn + middle
    truth[..., :2] = truth[..., :2] @ turn
    return keypoints, truth


def mirrored(keypoints: F32, width_px: int) -> F32:
    """As a mirror shows them: x the other way round, left and right exchanged."""
    turned = mirror(keypoints)
    turned[..., 0] += width_px
    return turned


def mirror(points: F32) -> F32:
    """Points (L, 17, C) with x negated and left and right exchanged."""
    return Mirror("h36m17")(torch.from_numpy(points)[None])[0].numpy().copy()


def held(take: Take, frames: int, errors: bool) -> F32:
    """Somebody who stands still as in the take's middle frame; errors: but the detector does not.

    The detector's errors are those it made in the take, forth and back.
    """
    middle = len(take.truth) // 2
    if not errors:
        return np.repeat(take.exact()[middle : middle + 1], frames, axis=0)
    index = _to_and_fro(len(take.truth), frames)
    keypoints = take.keypoints[index].copy()
    keypoints[..., :2] += take.clean[middle] - take.clean[index]
    return keypoints


def _to_and_fro(length: int, frames: int) -> NDArray[np.int64]:
    time = np.arange(frames) % max(1, 2 * (length - 1))
    return np.minimum(time, 2 * (length - 1) - time)
