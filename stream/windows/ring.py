"""The last seconds of one person in 2D: fixed memory, one writer, readers that never make it wait.

The writer fills the slot after the newest frame and only then counts it, so a reader that
copies first and looks at the count afterwards knows whether its frames were overwritten
meanwhile. No lock is held by anyone.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.errors import ShapeError
from stream.messages import F32, I64, JointOrigin, Window, all_joints_visible
from stream.windows.fill_gaps import _OBSERVED, fill_gaps

T = TypeVar("T", np.float32, np.int64)


class Ring:
    """Keypoints of one person, oldest overwritten first; captured times only ever grow.

    capacity: frames kept; it must exceed the longest window by what may be written while
    a window is being copied.
    """

    def __init__(self, capacity: int, joints: int) -> None:
        if capacity < 2 or joints < 1:
            raise ShapeError(
                f"ring: expected capacity >= 2 and joints >= 1, got capacity {capacity}, joints {joints}"
            )
        self._keypoints: F32 = np.full((capacity, joints, 3), np.nan, np.float32)
        self._captured_ns: I64 = np.zeros(capacity, np.int64)
        self._count = 0
        self._whole = 0  # from this position on every joint of every frame was seen

    @property
    def capacity(self) -> int:
        return len(self._captured_ns)

    @property
    def count(self) -> int:
        """Frames pushed since the start; frame p (counted from 0) is the p-th pushed."""
        return self._count

    def push(self, xy: F32, score: F32, captured_ns: int) -> int:
        """Append what was seen: xy (J, 2) px with NaN where missing, score (J,). Returns its position."""
        slot = self._count % self.capacity
        row = self._keypoints[slot]
        if xy.shape != (len(row), 2) or score.shape != (len(row),):
            raise ShapeError(
                f"ring: expected xy ({len(row)}, 2) and score ({len(row)},), got {xy.shape} and {score.shape}"
            )
        row[:, :2] = xy
        row[:, 2] = score
        return self._counted(slot, captured_ns, all_joints_visible(xy, score))

    def push_gap(self, captured_ns: int) -> int:
        """Append a frame in which this person was not seen. Returns its position."""
        slot = self._count % self.capacity
        self._keypoints[slot] = np.nan
        return self._counted(slot, captured_ns, whole=False)

    def _counted(self, slot: int, captured_ns: int, whole: bool) -> int:
        self._captured_ns[slot] = captured_ns
        if not whole:
            self._whole = self._count + 1
        self._count += 1  # last: readers trust a frame only once it is counted
        return self._count - 1

    def window(self, frames: int, size_wh: tuple[int, int], end: int | None = None) -> Window:
        """The `frames` frames before position `end` (default: up to the newest), oldest first.

        Frames before the first one repeat it and are marked PADDED. A joint that was not seen is
        interpolated in time between its neighbours, or held after its last sighting, with score 0.
        """
        end = self._end(frames, end)
        seen = self._read(max(0, end - frames), end, size_wh)
        padding = frames - len(seen.origin)
        if not padding:
            return seen
        return Window(
            np.concatenate([np.repeat(seen.keypoints[:1], padding, axis=0), seen.keypoints]),
            np.concatenate([np.full(padding, JointOrigin.PADDED, np.uint8), seen.origin]),
            np.concatenate([np.repeat(seen.captured_ns[:1], padding), seen.captured_ns]),
            size_wh,
        )

    def since(self, span_ns: int, most: int, size_wh: tuple[int, int], end: int | None = None) -> Window:
        """The frames of the last `span_ns` before position `end` and the one before those, oldest first.

        No more than `most`, and none that is not there; what was not seen is filled in as in `window`.
        """
        end = self._end(most, end)
        start = max(0, end - most)
        captured_ns = self._cut(self._captured_ns, start, end)
        before = int(captured_ns.searchsorted(captured_ns[-1] - span_ns, "right")) - 1
        return self._read(start + max(0, before), end, size_wh)

    def newest(self, most: int, size_wh: tuple[int, int], end: int) -> Window:
        """The `most` frames before position `end`, or as many as there are, filled in as in `window`."""
        return self._read(max(0, self._end(most, end) - most), end, size_wh)

    def times(self, most: int, end: int) -> I64:
        """When those were captured, (N,)."""
        return self._cut(self._captured_ns, max(0, self._end(most, end) - most), end)

    def _end(self, frames: int, end: int | None) -> int:
        end = self._count if end is None else end
        if not 0 < end <= self._count or frames >= self.capacity:
            raise ShapeError(
                f"ring: expected a window of at most {self.capacity - 1} frames ending in 1..{self._count}, "
                f"got {frames} frames ending at {end}"
            )
        return end

    def _read(self, start: int, end: int, size_wh: tuple[int, int]) -> Window:
        whole = start >= self._whole  # asked first: what is written meanwhile may not be
        keypoints, captured_ns = (
            self._cut(self._keypoints, start, end),
            self._cut(self._captured_ns, start, end),
        )
        if start <= self._count - self.capacity:
            raise ShapeError(
                f"ring: frames from {start} were overwritten, the oldest kept is "
                f"{self._count - self.capacity + 1}; read more often or give the ring more capacity"
            )
        origin = np.full(end - start, _OBSERVED) if whole else fill_gaps(keypoints, captured_ns)
        return Window(keypoints, origin, captured_ns, size_wh)

    def _cut(self, kept: NDArray[T], start: int, end: int) -> NDArray[T]:
        """A copy of positions `start` to `end`."""
        first = start % self.capacity
        wrapped = first + end - start - self.capacity
        if wrapped <= 0:
            return kept[first : first + end - start].copy()
        return np.concatenate([kept[first:], kept[:wrapped]])
