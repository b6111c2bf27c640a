"""Fill the joints that are missing in a window: interpolated in time, held at the ends, with score 0."""

import numpy as np
from numpy.typing import NDArray

from stream.messages import F32, I64, U8, JointOrigin, Mask

F64 = NDArray[np.float64]

OBSERVED = np.uint8(JointOrigin.OBSERVED)


def fill_gaps(keypoints: F32, captured_ns: I64) -> U8:
    """Fill missing joints of keypoints (F, J, 3) x px, y px, score in place; returns the origin (F,).

    captured_ns (F,) grows. A joint is missing when a value is NaN or its score is 0. Joints never detected in
    the window are put at the body centre with score 0. Origin: a frame with any detected joint is OBSERVED, a
    frame before the last such frame INTERPOLATED, a frame after it PREDICTED.
    """
    detected: Mask = np.isfinite(keypoints).all(axis=2) & (keypoints[..., 2] > 0)  # (F, J)
    observed = detected.any(axis=1)
    if not detected.all():
        time_ns = captured_ns - captured_ns[0]
        ever_detected: Mask = np.logical_or.reduce(detected, axis=0)
        if not ever_detected.all():
            keypoints[:, ~ever_detected, :2] = _body_centre(keypoints, detected, time_ns)[:, None]
        _interpolate_joints(keypoints, detected, ever_detected, time_ns)
        keypoints[..., 2][~detected] = 0.0
    origin = np.where(observed, OBSERVED, np.uint8(JointOrigin.INTERPOLATED))
    if observed.any():
        origin[np.flatnonzero(observed)[-1] + 1 :] = JointOrigin.PREDICTED
    else:
        origin[:] = JointOrigin.PREDICTED
    return origin


def _interpolate_joints(keypoints: F32, detected: Mask, ever_detected: Mask, time_ns: I64) -> None:
    """Interpolate x and y in place, of joints `ever_detected` (J,) where `detected` (F, J) is False.

    Before its first and after its last detection a joint is held.
    """
    frame, joint = np.nonzero(~detected & ever_detected)
    rows, last_row = np.arange(len(detected))[:, None], len(detected) - 1
    before = np.maximum.accumulate(np.where(detected, rows, -1))[frame, joint]
    after = np.minimum.accumulate(np.where(detected, rows, last_row + 1)[::-1])[::-1][frame, joint]
    before, after = np.where(before < 0, after, before), np.where(after > last_row, before, after)
    start_xy = keypoints[before, joint, :2].astype(np.float64)
    gap_ns = np.maximum(time_ns[after] - time_ns[before], 1)
    slope = (keypoints[after, joint, :2] - start_xy) / gap_ns[:, None]
    keypoints[frame, joint, :2] = slope * (time_ns[frame] - time_ns[before])[:, None] + start_xy


def _body_centre(keypoints: F32, detected: Mask, time_ns: I64) -> F64:
    """Mean of the detected joints per frame, (F, 2) px, interpolated over frames without any; else 0."""
    count = detected.sum(axis=1)
    total = np.where(detected[..., None], keypoints[..., :2], 0.0).sum(axis=1)
    observed = count > 0
    if not observed.any():
        return np.zeros((len(keypoints), 2))
    mean = total[observed] / count[observed, None]
    return np.stack([np.interp(time_ns, time_ns[observed], mean[:, axis]) for axis in (0, 1)], axis=1)
