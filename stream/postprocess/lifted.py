"""Poses and keypoints of one person's lifted window, at any time within it."""

from functools import cache, cached_property

import numpy as np

from stream.interpolation import neighbours
from stream.messages import F32, I64, U8, JointOrigin, Window

_OBSERVED, _INTERPOLATED, _PREDICTED = np.array(
    [JointOrigin.OBSERVED, JointOrigin.INTERPOLATED, JointOrigin.PREDICTED], np.uint8
)
_PADDED = int(JointOrigin.PADDED)


class LiftedWindow:
    """One person's window, and poses (N, J, 3) float32 metres of its N newest frames.

    padded: how many frames of the window are padding before the person's first frame.
    """

    def __init__(self, window: Window, poses: F32) -> None:
        self.window = window
        self.poses = poses
        self._times_ns = window.captured_ns[-len(poses) :]
        self._captured = window.captured or window
        self.padded = window.origin.tobytes().count(_PADDED)

    def pose(self, at_ns: int) -> F32:
        """(J, 3) metres at a time, interpolated between the lifter's frames; held after the newest."""
        before, after, weight = neighbours(self._times_ns, at_ns)
        pose: F32 = self.poses[before]
        return pose + np.float32(weight) * (self.poses[after] - pose) if weight else pose

    def keypoints(self, at_ns: int) -> tuple[F32, U8]:
        """(J, 3) x px, y px, score at a time, and the `JointOrigin` (J,) uint8 of each joint.

        They are those of the captured frames, interpolated between two of them. A joint is interpolated where
        it was detected both before and after; elsewhere its position is predicted and its score is 0.
        """
        times_ns = self._captured.captured_ns
        before, after, weight = neighbours(times_ns, at_ns)
        keypoints = self._captured.keypoints[before]
        if times_ns[before] == at_ns:
            detected = keypoints[:, 2] > 0
            if np.count_nonzero(detected) == len(detected):
                return keypoints, _all_observed(len(detected))
            first, last = self._detections
            filled = np.where((first < before) & (before < last), _INTERPOLATED, _PREDICTED)
            return keypoints, np.where(detected, _OBSERVED, filled)
        next_keypoints = self._captured.keypoints[after]
        mixed = keypoints + np.float32(weight) * (next_keypoints - keypoints)
        first, last = self._detections
        between = (first <= before) & (after <= last) & (before < after)
        mixed[:, 2] = np.where(between, np.minimum(keypoints[:, 2], next_keypoints[:, 2]), 0.0)
        return mixed, np.where(between, _INTERPOLATED, _PREDICTED)

    @cached_property
    def _detections(self) -> tuple[I64, I64]:
        """Captured frames, (J,) and (J,), in which each joint was first and last detected."""
        detected = self._captured.keypoints[..., 2] > 0  # (F, J)
        never = ~detected.any(axis=0)
        first = np.where(never, len(detected), detected.argmax(axis=0))
        return first, np.where(never, -1, len(detected) - 1 - detected[::-1].argmax(axis=0))


@cache
def _all_observed(joints: int) -> U8:
    return np.full(joints, _OBSERVED)
