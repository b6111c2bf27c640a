"""Windows on the lifter's own time grid, made of frames that were captured when they were captured.

The grid of a window ends at its newest captured frame, so that nothing is waited for.
"""

from dataclasses import dataclass

import numpy as np

from stream.messages import Origin, Window
from stream.ring import Ring

_FASTEST = 3  # times as fast as the grid may a camera be before windows get shorter for it
# What a point is that lies before a frame of this origin, and is not near any.
_BETWEEN = np.full(len(Origin), Origin.INTERPOLATED, np.uint8)
_BETWEEN[Origin.PREDICTED] = Origin.PREDICTED
_PADDED = int(Origin.PADDED)
_NEAR = 10  # a captured frame within a tenth of a step is the grid's, as camera clocks are


@dataclass(frozen=True, slots=True)
class Pace:
    """step_ns: between the frames of a window; None takes captured frames as they come.

    tick_ns: between published poses; None publishes one for every captured frame.
    """

    step_ns: int | None = None
    tick_ns: int | None = None

    def room(self, frames: int) -> int:
        """How many captured frames a window of `frames` may hold."""
        return frames if self.step_ns is None else _FASTEST * frames

    def read(self, ring: Ring, frames: int, size_wh: tuple[int, int], end: int) -> Window:
        """The window of `frames` frames that ends at the one before position `end`."""
        if self.step_ns is None:
            return ring.window(frames, size_wh, end)
        seen = ring.since((frames - 1) * self.step_ns, self.room(frames), size_wh, end)
        return resample(seen, frames, self.step_ns)


AS_CAPTURED = Pace()


def resample(seen: Window, frames: int, step_ns: int) -> Window:
    """The window of `frames` points, step_ns apart, that ends at the newest frame of `seen` and keeps it.

    Between captured frames keypoints are interpolated, a score is the lower of both; a point is observed only
    where a frame was captured, predicted after the last sighting, and padded before the first frame.
    """
    newest_ns = seen.captured_ns[-1]
    grid_ns = step_ns * np.arange(1 - frames, 1)  # from the newest frame on, as are:
    taken_ns = seen.captured_ns - newest_ns
    row = np.interp(grid_ns, taken_ns, np.arange(len(taken_ns)))  # of `seen`
    left, nearest = row.astype(np.intp), (row + 0.5).astype(np.intp)
    right = np.minimum(left + 1, len(taken_ns) - 1)
    share = (row - left).astype(np.float32)
    near = np.abs(taken_ns[nearest] - grid_ns) <= step_ns // _NEAR

    keypoints, after = seen.keypoints.take(left, axis=0), seen.keypoints.take(right, axis=0)
    score = np.minimum(keypoints[..., 2], after[..., 2])
    np.copyto(score, seen.keypoints[..., 2].take(nearest, axis=0), where=near[:, None])
    after -= keypoints
    after *= share[:, None, None]
    keypoints += after
    keypoints[..., 2] = score
    between = _BETWEEN[seen.origin[right]]
    between[: grid_ns.searchsorted(taken_ns[0])] = _PADDED
    origin = np.where(near, seen.origin[nearest], between)
    return Window(keypoints, origin, newest_ns + grid_ns, seen.size_wh, seen)
