"""Interpolate the joints that a window is missing, or hold their last position."""

import numpy as np

from stream.messages import F32, I64, U8, JointOrigin, Mask

_OBSERVED = np.uint8(JointOrigin.OBSERVED)


def fill_gaps(keypoints: F32, captured_ns: I64) -> U8:
    """Replace what is missing in keypoints (F, J, 3) in place, with score 0; say where each frame is from."""
    seen = np.isfinite(keypoints).all(axis=2) & (keypoints[..., 2] > 0)  # (F, J)
    observed = seen.any(axis=1)
    if not seen.all():
        time = captured_ns - captured_ns[0]
        ever: Mask = np.logical_or.reduce(seen, axis=0)
        if not ever.all():  # who was never seen stands at the body's centre: inside, with no say
            keypoints[:, ~ever, :2] = _centre(keypoints, seen, time)[:, None]
        _interpolate_joints(keypoints, seen, ever, time)
        keypoints[..., 2][~seen] = 0.0
    origin = np.where(observed, _OBSERVED, np.uint8(JointOrigin.INTERPOLATED))
    if observed.any():
        origin[np.flatnonzero(observed)[-1] + 1 :] = JointOrigin.PREDICTED
    else:
        origin[:] = JointOrigin.PREDICTED
    return origin


def _interpolate_joints(keypoints: F32, seen: Mask, ever: Mask, time: I64) -> None:
    """Interpolate x and y, in place, of the joints `ever` seen (J,) where they are not `seen` (F, J)."""
    frame, joint = np.nonzero(~seen & ever)
    rows, last = np.arange(len(seen))[:, None], len(seen) - 1
    before = np.maximum.accumulate(np.where(seen, rows, -1))[frame, joint]
    after = np.minimum.accumulate(np.where(seen, rows, last + 1)[::-1])[::-1][frame, joint]
    before, after = (
        np.where(before < 0, after, before),
        np.where(after > last, before, after),
    )  # ends are held
    there = keypoints[before, joint, :2].astype(np.float64)
    gap = np.maximum(time[after] - time[before], 1)
    slope = (keypoints[after, joint, :2] - there) / gap[:, None]
    keypoints[frame, joint, :2] = slope * (time[frame] - time[before])[:, None] + there


def _centre(keypoints: F32, seen: np.ndarray, time: I64) -> np.ndarray:
    """Mean of the joints seen per frame, (F, 2) px, interpolated over frames that saw none."""
    count = seen.sum(axis=1)
    total = np.where(seen[..., None], keypoints[..., :2], 0.0).sum(axis=1)
    known = count > 0
    if not known.any():
        return np.zeros((len(keypoints), 2), np.float32)
    mean = total[known] / count[known, None]
    return np.stack([np.interp(time, time[known], mean[:, axis]) for axis in (0, 1)], axis=1)
