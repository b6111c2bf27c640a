"""Windows on the lifter's own time grid, made of frames that were captured when they were captured.

The grid of a window ends at its newest captured frame, so that nothing is waited for. Of a camera that keeps
the lifter's pace, or half of it, the points are its frames as they are: each within a tenth of a step of a
whole number of steps after the one before, and all together within 2 % of the pace. A window then says when
they were captured, so poses are at their true times; the lifter sees motion faster or slower by no more than
that. And a frame is the same in every window, so what a lifter made of it before may serve again.
"""

from dataclasses import dataclass

import numpy as np

from stream.messages import I64, JointOrigin, Window
from stream.windows.ring import Ring

_FASTEST = 3  # times as fast as the grid may a camera be before windows get shorter for it
# What a point is that lies before a frame of this origin, and is not near any.
_BETWEEN = np.full(len(JointOrigin), JointOrigin.INTERPOLATED, np.uint8)
_BETWEEN[JointOrigin.PREDICTED] = JointOrigin.PREDICTED
_PADDED = int(JointOrigin.PADDED)
_NEAR = 10  # a captured frame within a tenth of a step is the grid's, as camera clocks are
# Of the time they span, frames may drift by one part in so many from the pace: at 49 and 51 frames per second
# instead of 50, benchmarks/resampling.py finds no difference between lifting them as captured and resampled.
_DRIFT = 50


@dataclass(frozen=True, slots=True)
class Timing:
    """step_ns: between the frames of a window; None takes captured frames as they come.

    tick_ns: between published poses; None publishes one for every captured frame.
    """

    step_ns: int | None = None
    tick_ns: int | None = None

    def room(self, frames: int) -> int:
        """How many captured frames a window of `frames` may hold."""
        return frames if self.step_ns is None else _FASTEST * frames

    def read(
        self, ring: Ring, frames: int, size_wh: tuple[int, int], end: int, since_ns: int | None = None
    ) -> Window:
        """The window of `frames` frames that ends at the one before position `end`.

        since_ns: the first time that a pose is asked for.
        """
        if self.step_ns is None:
            return ring.window(frames, size_wh, end)
        paced_ns = _paced(ring.times(frames, end), self.step_ns)
        if paced_ns is not None:
            window = self._as_captured(ring, paced_ns, frames, size_wh, end)
            if since_ns is None or window.captured_ns[0] <= since_ns:  # of a fast camera it is short
                return window
        seen = ring.since((frames - 1) * self.step_ns, self.room(frames), size_wh, end)
        return resample(seen, frames, self.step_ns)

    def _as_captured(
        self, ring: Ring, paced_ns: I64, frames: int, size_wh: tuple[int, int], end: int
    ) -> Window:
        """The window of frames as they are, which at the lifter's pace would be at paced_ns (N,)."""
        assert self.step_ns is not None
        known = len(paced_ns)
        if paced_ns[0] < (1 - known) * self.step_ns:
            return _bridged(ring.newest(frames, size_wh, end), paced_ns, frames, self.step_ns)
        window = ring.window(frames, size_wh, end)
        if known < frames:  # before the first frame
            window.captured_ns[:-known] += self.step_ns * np.arange(known - frames, 0)
        return window


AS_CAPTURED = Timing()


def resample(seen: Window, frames: int, step_ns: int) -> Window:
    """The window of `frames` points, step_ns apart, that ends at the newest frame of `seen` and keeps it.

    Between captured frames keypoints are interpolated, a score is the lower of both; a point is observed only
    where a frame was captured, predicted after the last sighting, and padded before the first frame.
    """
    return _on_grid(seen, seen.captured_ns - seen.captured_ns[-1], frames, step_ns)


def _paced(captured_ns: I64, step_ns: int) -> I64 | None:
    """When frames (N,) would be at exactly this pace, the newest at 0; None when they do not come at it.

    They do when each is near a whole number of steps after the one before, and all of them drift little.
    """
    paced_ns, near_ns = np.zeros_like(captured_ns), step_ns // _NEAR
    if len(paced_ns) < 2:
        return paced_ns
    off_ns = int(captured_ns[-1] - captured_ns[-2] + near_ns) % step_ns
    if off_ns > 2 * near_ns:  # most cameras of another pace are known by this
        return None
    gaps = captured_ns[1:] - captured_ns[:-1]
    steps = (gaps + step_ns // 2) // step_ns
    np.add.accumulate(steps, out=paced_ns[1:])
    paced_ns -= paced_ns[-1]
    paced_ns *= step_ns
    span_ns = int(captured_ns[-1] - captured_ns[0])
    gaps -= step_ns * steps
    if abs(span_ns + int(paced_ns[0])) > near_ns + span_ns // _DRIFT or int(steps.min()) < 1:
        return None
    return paced_ns if int(np.abs(gaps).max()) <= near_ns else None


def _bridged(seen: Window, paced_ns: I64, frames: int, step_ns: int) -> Window:
    """The window of the frames `seen` as they are, and where one is missing of a point between others."""
    window = _on_grid(seen, paced_ns, frames, step_ns)
    before_ns = frames * step_ns  # on the pace too
    at_ns = np.concatenate([[paced_ns[0] - before_ns], paced_ns])
    taken_ns = np.concatenate([[seen.captured_ns[0] - before_ns], seen.captured_ns]) - seen.captured_ns[-1]
    grid_ns = window.captured_ns - seen.captured_ns[-1]
    own_ns = np.rint(np.interp(grid_ns, at_ns, taken_ns)).astype(np.int64)
    return Window(window.keypoints, window.origin, seen.captured_ns[-1] + own_ns, seen.size_wh, seen)


def _on_grid(seen: Window, taken_ns: I64, frames: int, step_ns: int) -> Window:
    """As `resample`; the frames of `seen` count as taken_ns (N,), of which the newest is 0."""
    newest_ns = seen.captured_ns[-1]
    grid_ns = step_ns * np.arange(1 - frames, 1)
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
