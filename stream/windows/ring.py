"""Keypoints of one person over the last seconds: fixed memory, one writing thread, readers without a lock.

The writer fills the slot after the newest frame and only then counts it. A reader copies first and checks the
count afterwards, so it notices when the frames it copied were overwritten meanwhile.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.errors import ShapeError
from stream.messages import F32, I64, JointOrigin, Window, all_joints_visible
from stream.windows.fill_gaps import OBSERVED, fill_gaps

T = TypeVar("T", np.float32, np.int64)


class Ring:
    """Keypoints of one person, the oldest overwritten first; captured times only ever grow.

    capacity: frames kept; more than the longest window, by the frames that may be written while a window is
    copied. Raises ShapeError for a capacity below 2 or fewer than 1 joints.
    """

    def __init__(self, capacity: int, joints: int) -> None:
        if capacity < 2 or joints < 1:
            raise ShapeError(
                f"ring: expected capacity >= 2 and joints >= 1, got capacity {capacity}, joints {joints}"
            )
        self._keypoints: F32 = np.empty((capacity, joints, 3), np.float32)  # read only once written
        self._captured_ns: I64 = np.zeros(capacity, np.int64)
        self._count = 0
        self._complete_from = 0  # from this position on, every joint of every frame was detected

    @property
    def capacity(self) -> int:
        return len(self._captured_ns)

    @property
    def count(self) -> int:
        """Frames pushed since the start; position p (from 0) is that of the p-th pushed frame."""
        return self._count

    def push(self, xy: F32, score: F32, captured_ns: int, complete: bool | None = None) -> int:
        """Append a detection: xy (J, 2) px with NaN where missing, score (J,). Returns its position.

        complete: whether every joint was detected; None when the caller does not know. Raises ShapeError for
        another number of joints.
        """
        slot = self._count % self.capacity
        row = self._keypoints[slot]
        if xy.shape != (len(row), 2) or score.shape != (len(row),):
            raise ShapeError(
                f"ring: expected xy ({len(row)}, 2) and score ({len(row)},), got {xy.shape} and {score.shape}"
            )
        row[:, :2] = xy
        row[:, 2] = score
        return self._commit(
            slot, captured_ns, all_joints_visible(xy, score) if complete is None else complete
        )

    def push_gap(self, captured_ns: int) -> int:
        """Append a frame without a detection of this person. Returns its position."""
        slot = self._count % self.capacity
        self._keypoints[slot] = np.nan
        return self._commit(slot, captured_ns, complete=False)

    def _commit(self, slot: int, captured_ns: int, complete: bool) -> int:
        self._captured_ns[slot] = captured_ns
        if not complete:
            self._complete_from = self._count + 1
        self._count += 1  # last: readers trust a frame only once it is counted
        return self._count - 1

    def window(self, frames: int, size_wh: tuple[int, int], end: int | None = None) -> Window:
        """The `frames` frames before position `end` (default: up to the newest), oldest first.

        The first frame is repeated in front of a shorter history, marked PADDED. Missing joints are filled by
        `fill_gaps`. Raises ShapeError for frames that do not exist or were overwritten.
        """
        end = self._checked_end(frames, end)
        history = self._read(max(0, end - frames), end, size_wh)
        padding = frames - len(history.origin)
        if not padding:
            return history
        return Window(
            np.concatenate([np.repeat(history.keypoints[:1], padding, axis=0), history.keypoints]),
            np.concatenate([np.full(padding, JointOrigin.PADDED, np.uint8), history.origin]),
            np.concatenate([np.repeat(history.captured_ns[:1], padding), history.captured_ns]),
            size_wh,
        )

    def since(
        self, span_ns: int, max_frames: int, size_wh: tuple[int, int], end: int | None = None
    ) -> Window:
        """The frames of the last `span_ns` before position `end` and the frame before those, oldest first.

        At most `max_frames`, without padding; missing joints are filled as in `window`.
        """
        end = self._checked_end(max_frames, end)
        start = max(0, end - max_frames)
        captured_ns = self._copy_range(self._captured_ns, start, end)
        before = int(captured_ns.searchsorted(captured_ns[-1] - span_ns, "right")) - 1
        return self._read(start + max(0, before), end, size_wh)

    def newest(self, max_frames: int, size_wh: tuple[int, int], end: int) -> Window:
        """At most `max_frames` frames before position `end`, without padding; filled as in `window`."""
        return self._read(max(0, self._checked_end(max_frames, end) - max_frames), end, size_wh)

    def times(self, max_frames: int, end: int) -> I64:
        """Captured times (N,) of the frames that `newest` returns."""
        return self._copy_range(
            self._captured_ns, max(0, self._checked_end(max_frames, end) - max_frames), end
        )

    def _checked_end(self, frames: int, end: int | None) -> int:
        end = self._count if end is None else end
        if not 0 < end <= self._count or frames >= self.capacity:
            raise ShapeError(
                f"ring: expected a window of at most {self.capacity - 1} frames ending in 1..{self._count}, "
                f"got {frames} frames ending at {end}"
            )
        return end

    def _read(self, start: int, end: int, size_wh: tuple[int, int]) -> Window:
        # Read before copying: a frame written during the copy may be incomplete.
        complete = start >= self._complete_from
        keypoints = self._copy_range(self._keypoints, start, end)
        captured_ns = self._copy_range(self._captured_ns, start, end)
        if start <= self._count - self.capacity:
            raise ShapeError(
                f"ring: frames from {start} were overwritten, the oldest kept is "
                f"{self._count - self.capacity + 1}; read more often or give the ring more capacity"
            )
        origin = np.full(end - start, OBSERVED) if complete else fill_gaps(keypoints, captured_ns)
        return Window(keypoints, origin, captured_ns, size_wh)

    def _copy_range(self, rows: NDArray[T], start: int, end: int) -> NDArray[T]:
        """A copy of the rows at positions `start` to `end`."""
        first = start % self.capacity
        wrapped = first + end - start - self.capacity
        if wrapped <= 0:
            return rows[first : first + end - start].copy()
        return np.concatenate([rows[first:], rows[:wrapped]])
