"""Windows on the lifter's time grid, made of frames captured at any rate.

The grid of a window ends at its newest captured frame, so no frame waits for a later one. When the camera
keeps the lifter's rate, or half of it, the points are its frames unchanged: each frame within a tenth of a
step of a whole number of steps after the frame before, and all together within 2 % of the rate. Such a window
has the frames' own captured times, so poses are at their true times; the lifter perceives motion at most that
much faster or slower. And a frame is the same in every window, so a lifter can reuse its features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stream.interpolation import fractional_rows_of_many
from stream.messages import I64, JointOrigin, Window
from stream.windows.ring import Ring

# A camera may be this many times as fast as the grid before its windows span less time.
MAX_OVERSAMPLING = 3
# A captured frame within a tenth of a step is on the grid, since camera clocks tremble that much.
SNAP_TOLERANCE = 10
# Frames may drift from the grid by one part in 50 of the time they span: at 49 and 51 frames per second
# instead of 50, benchmarks/resampling.py finds no difference between lifting them as captured and resampled.
MAX_DRIFT = 50

# Origin of a point that is not near any frame, by the origin of the frame after it.
_ORIGIN_BEFORE = np.full(len(JointOrigin), JointOrigin.INTERPOLATED, np.uint8)
_ORIGIN_BEFORE[JointOrigin.PREDICTED] = JointOrigin.PREDICTED
_PADDED = int(JointOrigin.PADDED)


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of windows and of published poses.

    window_step_ns: between the frames of a window; None takes captured frames as they come.
    output_step_ns: between published poses; None publishes one for every captured frame.
    """

    window_step_ns: int | None = None
    output_step_ns: int | None = None

    def max_captured_frames(self, frames: int) -> int:
        """How many captured frames a window of `frames` may hold."""
        return frames if self.window_step_ns is None else MAX_OVERSAMPLING * frames

    def windows(self, cuts: Sequence["WindowCut"], frames: int) -> list[Window]:
        """A window of `frames` frames for each of the cuts; those of one batch cost little more than one."""
        step_ns = self.window_step_ns
        if step_ns is None:
            return [cut.ring.window(frames, cut.size_wh, cut.end) for cut in cuts]
        windows = [_on_grid_as_captured(cut, frames, step_ns) for cut in cuts]
        max_frames = self.max_captured_frames(frames)
        captured = [
            cut.ring.since((frames - 1) * step_ns, max_frames, cut.size_wh, cut.end)
            for cut, window in zip(cuts, windows, strict=True)
            if window is None
        ]
        resampled = iter(resample_all(captured, frames, step_ns))
        return [next(resampled) if window is None else window for window in windows]

    def window(
        self, ring: Ring, frames: int, size_wh: tuple[int, int], end: int, first_pose_ns: int | None = None
    ) -> Window:
        """The window of one cut."""
        return self.windows([WindowCut(ring, size_wh, end, first_pose_ns)], frames)[0]


class WindowCut(NamedTuple):
    """A window to cut out of a ring: it ends at the frame before position `end`.

    first_pose_ns: the earliest time of a pose that will be read from it.
    """

    ring: Ring
    size_wh: tuple[int, int]
    end: int
    first_pose_ns: int | None = None


AS_CAPTURED = Timing()


def resample(captured: Window, frames: int, step_ns: int) -> Window:
    """The window of `frames` points, step_ns apart, that ends at the newest frame of `captured` and keeps it.

    Between captured frames keypoints are interpolated, with the lower score of both. A point is observed
    where a frame was captured, predicted after the last detection, and padded before the first frame.
    """
    return resample_all([captured], frames, step_ns)[0]


def resample_all(captured: Sequence[Window], frames: int, step_ns: int) -> list[Window]:
    """`resample` of several windows with the same joints."""
    frame_ns = [window.captured_ns - window.captured_ns[-1] for window in captured]
    return _on_grid(captured, frame_ns, frames, step_ns)


def _snap_to_grid(captured_ns: I64, step_ns: int) -> I64 | None:
    """Grid times (N,) of frames captured at captured_ns (N,), the newest at 0; None for another rate.

    Frames fit the grid when each is near a whole number of steps after the frame before, and all of them
    drift little.
    """
    grid_ns, tolerance_ns = np.zeros_like(captured_ns), step_ns // SNAP_TOLERANCE
    if len(grid_ns) < 2:
        return grid_ns
    newest_offset_ns = int(captured_ns[-1] - captured_ns[-2] + tolerance_ns) % step_ns
    if newest_offset_ns > 2 * tolerance_ns:  # fast reject: most cameras of another rate fail here
        return None
    gaps_ns = captured_ns[1:] - captured_ns[:-1]
    steps = (gaps_ns + step_ns // 2) // step_ns
    np.add.accumulate(steps, out=grid_ns[1:])
    grid_ns -= grid_ns[-1]
    grid_ns *= step_ns
    span_ns = int(captured_ns[-1] - captured_ns[0])
    drift_ns = abs(span_ns + int(grid_ns[0]))
    if drift_ns > tolerance_ns + span_ns // MAX_DRIFT or int(steps.min()) < 1:
        return None
    gaps_ns -= step_ns * steps
    return grid_ns if int(np.abs(gaps_ns).max()) <= tolerance_ns else None


def _on_grid_as_captured(cut: WindowCut, frames: int, step_ns: int) -> Window | None:
    """The window of the captured frames, when they are on the grid; otherwise None."""
    grid_ns = _snap_to_grid(cut.ring.times(frames, cut.end), step_ns)
    if grid_ns is None:
        return None
    window = _as_captured(cut.ring, grid_ns, frames, cut.size_wh, cut.end, step_ns)
    # A camera slightly faster than the grid gives a window that spans less time.
    spans_poses = cut.first_pose_ns is None or window.captured_ns[0] <= cut.first_pose_ns
    return window if spans_poses else None


def _as_captured(
    ring: Ring, grid_ns: I64, frames: int, size_wh: tuple[int, int], end: int, step_ns: int
) -> Window:
    """The window of the captured frames unchanged, whose grid times are grid_ns (N,)."""
    captured_frames = len(grid_ns)
    if grid_ns[0] < (1 - captured_frames) * step_ns:
        return _with_missing_frames(ring.newest(frames, size_wh, end), grid_ns, frames, step_ns)
    window = ring.window(frames, size_wh, end)
    if captured_frames < frames:  # the padding before the first frame gets times too
        window.captured_ns[:-captured_frames] += step_ns * np.arange(captured_frames - frames, 0)
    return window


def _with_missing_frames(captured: Window, grid_ns: I64, frames: int, step_ns: int) -> Window:
    """The window of the captured frames unchanged, with interpolated frames where the camera skipped."""
    (window,) = _on_grid([captured], [grid_ns], frames, step_ns)
    newest_ns = captured.captured_ns[-1]
    padding_ns = frames * step_ns  # before the first frame, times go on at the grid's rate
    frame_grid_ns = np.concatenate([[grid_ns[0] - padding_ns], grid_ns])
    frame_ns = np.concatenate([[captured.captured_ns[0] - padding_ns], captured.captured_ns]) - newest_ns
    point_grid_ns = window.captured_ns - newest_ns
    point_ns = np.rint(np.interp(point_grid_ns, frame_grid_ns, frame_ns)).astype(np.int64)
    return Window(window.keypoints, window.origin, newest_ns + point_ns, captured.size_wh, captured)


def _on_grid(captured: Sequence[Window], frame_ns: Sequence[I64], frames: int, step_ns: int) -> list[Window]:
    """As `resample_all`, with the captured frames of each window taken to be at frame_ns, the newest at 0."""
    if len(captured) < 3:
        pairs = zip(captured, frame_ns, strict=True)
        return [_one_on_grid(window, times_ns, frames, step_ns) for window, times_ns in pairs]
    point_ns = step_ns * np.arange(1 - frames, 1)
    # Fractional rows (B, F) of the captured frames, and where each window begins among all frames together.
    row, start = fractional_rows_of_many(frame_ns, point_ns[None].repeat(len(captured), 0))
    before, nearest = row.astype(np.intp), (row + 0.5).astype(np.intp) + start
    weight = (row - before).astype(np.float32)
    before += start
    newest = np.array([len(times) for times in frame_ns])[:, None] - 1 + start
    after = np.minimum(before + 1, newest)
    all_frame_ns = np.concatenate(frame_ns)
    on_frame = np.abs(all_frame_ns.take(nearest) - point_ns) <= step_ns // SNAP_TOLERANCE

    all_keypoints = np.concatenate([window.keypoints for window in captured])
    keypoints, step = all_keypoints.take(before, axis=0), all_keypoints.take(after, axis=0)
    score = np.minimum(keypoints[..., 2], step[..., 2])
    np.copyto(score, all_keypoints[..., 2].take(nearest, axis=0), where=on_frame[..., None])
    step -= keypoints
    step *= weight[..., None, None]
    keypoints += step
    keypoints[..., 2] = score

    all_origins = np.concatenate([window.origin for window in captured])
    between = _ORIGIN_BEFORE[all_origins.take(after)]
    between[point_ns < all_frame_ns.take(start)] = _PADDED
    origin = np.where(on_frame, all_origins.take(nearest), between)
    times_ns = np.array([window.captured_ns[-1] for window in captured])[:, None] + point_ns
    return [
        Window(keypoints[row], origin[row], times_ns[row], window.size_wh, window)
        for row, window in enumerate(captured)
    ]


def _one_on_grid(captured: Window, frame_ns: I64, frames: int, step_ns: int) -> Window:
    """`_on_grid` of one window, which takes less time for fewer than three."""
    point_ns = step_ns * np.arange(1 - frames, 1)
    row = np.interp(point_ns, frame_ns, np.arange(len(frame_ns)))  # fractional rows of `captured`
    before, nearest = row.astype(np.intp), (row + 0.5).astype(np.intp)
    after = np.minimum(before + 1, len(frame_ns) - 1)
    on_frame = np.abs(frame_ns[nearest] - point_ns) <= step_ns // SNAP_TOLERANCE

    keypoints, step = captured.keypoints.take(before, axis=0), captured.keypoints.take(after, axis=0)
    score = np.minimum(keypoints[..., 2], step[..., 2])
    np.copyto(score, captured.keypoints[..., 2].take(nearest, axis=0), where=on_frame[:, None])
    step -= keypoints
    step *= (row - before).astype(np.float32)[:, None, None]
    keypoints += step
    keypoints[..., 2] = score

    between = _ORIGIN_BEFORE[captured.origin[after]]
    between[: point_ns.searchsorted(frame_ns[0])] = _PADDED
    origin = np.where(on_frame, captured.origin[nearest], between)
    return Window(keypoints, origin, captured.captured_ns[-1] + point_ns, captured.size_wh, captured)
