"""Poses and keypoints of one person's lifted window, at any time within it."""

from functools import cache, cached_property

import numpy as np

from stream.messages import F32, I64, U8, JointOrigin, Window

_OBSERVED, _INTERPOLATED, _PREDICTED = np.array(
    [JointOrigin.OBSERVED, JointOrigin.INTERPOLATED, JointOrigin.PREDICTED], np.uint8
)
_PADDED = int(JointOrigin.PADDED)


class LiftedWindow:
    """One person's window and poses (N, J, 3) float32 metres of its N newest frames, at any time within."""

    def __init__(self, window: Window, poses: F32) -> None:
        self.window = window
        self.poses = poses
        self._times_ns = window.captured_ns[-len(poses) :]
        self._captured = window.captured or window

    def pose(self, at_ns: int) -> F32:
        """(J, 3) metres at a time, interpolated between the lifter's frames; never beyond the newest."""
        left, right, share = _between(self._times_ns, at_ns)
        pose: F32 = self.poses[left]
        return pose + np.float32(share) * (self.poses[right] - pose) if share else pose

    def keypoints(self, at_ns: int) -> tuple[F32, U8]:
        """(J, 3) x px, y px, score at a time, and where each joint (J,) is from, of `JointOrigin`."""
        times = self._captured.captured_ns
        left, right, share = _between(times, at_ns)
        keypoints = self._captured.keypoints[left]
        if times[left] == at_ns:
            seen = keypoints[:, 2] > 0
            if np.count_nonzero(seen) == len(seen):
                return keypoints, _observed(len(seen))
            first, last = self._sighted
            invented = np.where((first < left) & (left < last), _INTERPOLATED, _PREDICTED)
            return keypoints, np.where(seen, _OBSERVED, invented)
        after = self._captured.keypoints[right]
        mixed = keypoints + np.float32(share) * (after - keypoints)
        first, last = self._sighted
        between = (first <= left) & (right <= last) & (left < right)
        mixed[:, 2] = np.where(between, np.minimum(keypoints[:, 2], after[:, 2]), 0.0)
        return mixed, np.where(between, _INTERPOLATED, _PREDICTED)

    @cached_property
    def padded(self) -> int:
        """How many frames of the window there are not."""
        return int(np.count_nonzero(self.window.origin == _PADDED))

    @cached_property
    def _sighted(self) -> tuple[I64, I64]:
        """Rows of the first and the last sighting of each joint, (J,) and (J,)."""
        seen = self._captured.keypoints[..., 2] > 0  # (F, J)
        never = ~seen.any(axis=0)
        first = np.where(never, len(seen), seen.argmax(axis=0))
        return first, np.where(never, -1, len(seen) - 1 - seen[::-1].argmax(axis=0))


@cache
def _observed(joints: int) -> U8:
    return np.full(joints, _OBSERVED)


def _between(times: I64, at_ns: int) -> tuple[int, int, float]:
    """The rows on both sides of a time, and the share of the right one; ends are held."""
    newest = len(times) - 1
    if at_ns >= times[newest]:
        return newest, newest, 0.0
    left = max(int(times.searchsorted(at_ns, "right")) - 1, 0)
    right = min(left + 1, newest)
    gap_ns = int(times[right] - times[left])
    return left, right, min(max((at_ns - int(times[left])) / gap_ns, 0.0), 1.0) if gap_ns > 0 else 0.0
