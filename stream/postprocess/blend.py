"""PassBlender between passes: what two of them say about the same frames becomes one motion.

Each pass reads a window anew, so it does not go on exactly where the one before ended. What was published
stays as it was; from there the new pass is corrected by its difference from the one before, fading. Where
the one before looked ahead of what was published of it, the difference is known and fades as it is; after
that it is carried on by a critically damped spring, from its size and its slope, so that neither place nor
speed of a joint jumps.
"""

import weakref
from dataclasses import dataclass

import numpy as np

from stream.messages import F32, I64
from stream.windows.ring import Ring

_FADED = 5.0  # (1 + 5) e^-5: 4 % of a difference is left after `frames` of the lifter
_KEPT = 3  # frames before the last published one: two for a slope, one for grids that do not meet
_AUTO = (5, 25)  # frames without look-ahead, and the most


def default_blend_frames(lag: int) -> int:
    """Over how many frames to fade when nobody says.

    Without look-ahead a long fade costs accuracy; the more the passes have in common, the less.
    Measured by benchmarks/seams.py.
    """
    least, most = _AUTO
    return min(least + lag, most)


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """The end of a pass: poses (N, J, 3) at captured_ns (N,), published up to until_ns."""

    captured_ns: I64
    poses: F32
    until_ns: int


class PassBlender:
    """The last pass of every ring, which is one person's as long as they are seen; it goes when they go.

    frames: of the lifter over which a difference fades; 0 leaves every pass as it is.
    """

    def __init__(self, frames: int) -> None:
        self._rate = _FADED / frames if frames else 0.0  # of the spring, per frame
        self._said: weakref.WeakKeyDictionary[Ring, _Said] = weakref.WeakKeyDictionary()

    def reads(self, ring: Ring, captured_ns: I64, since_ns: int) -> int:
        """How many newest frames of a pass, at captured_ns (F,), it takes to publish from since_ns on."""
        said = self._said.get(ring)
        if said is not None:
            since_ns = min(since_ns, said.until_ns)
        first = int(captured_ns.searchsorted(since_ns, "right")) - 1 - _KEPT
        return len(captured_ns) - max(first, 0)

    def blend(self, ring: Ring, captured_ns: I64, poses: F32, until_ns: int) -> F32:
        """The poses (N, J, 3) of a pass, at captured_ns (N,), going on from the pass before of this ring.

        until_ns: up to where this pass is published.
        """
        if not self._rate:
            return poses
        said = self._said.get(ring)
        if said is not None and captured_ns[0] <= said.until_ns:
            poses = self._continued(said, captured_ns, poses)
        until_ns = min(until_ns, int(captured_ns[-1]))  # who is not seen any more may be spoken of later
        start = max(int(captured_ns.searchsorted(until_ns, "right")) - _KEPT, 0)
        self._said[ring] = _Said(captured_ns[start:], poses[start:], until_ns)
        return poses

    def _continued(self, said: _Said, captured_ns: I64, poses: F32) -> F32:
        last = int(captured_ns.searchsorted(said.until_ns, "right")) - 1  # row that is published already
        known = int(captured_ns.searchsorted(said.captured_ns[-1], "right")) - 1  # row both know about
        before_ns, *after_ns = captured_ns[max(last - 1, 0) : last + 2].tolist()
        last_ns = after_ns.pop(0) if last else before_ns
        first = last - 1 if before_ns < last_ns else last
        step_ns = after_ns[0] - last_ns if after_ns else 1
        seam = last + (said.until_ns - last_ns) / step_ns  # in rows
        here = _at(said, captured_ns[first : known + 1])
        here -= poses[first : known + 1]
        size = here[-1]
        if known > seam:
            far = self._rate * np.maximum(np.arange(first - seam, known + 1 - seam), 0.0)
            here *= ((1 + far) * np.exp(-far)).astype(np.float32)[:, None, None]
        slope = size - here[-2] if len(here) > 1 else np.zeros_like(size)
        on = np.arange(1, len(poses) - known, dtype=np.float32)[:, None, None]
        there = (size + (slope + self._rate * size) * on) * np.exp(-self._rate * on)
        return np.concatenate([poses[:first], poses[first : known + 1] + here, poses[known + 1 :] + there])


def _at(said: _Said, captured_ns: I64) -> F32:
    """What was said (T, J, 3) at times (T,), interpolated between its frames; its ends are held."""
    start_ns = said.captured_ns[0]
    rows = np.arange(len(said.poses))
    row = np.interp(captured_ns - start_ns, said.captured_ns - start_ns, rows)
    left = row.astype(np.intp)
    before: F32 = said.poses.take(left, axis=0)
    share = (row - left).astype(np.float32)
    if share.any():
        after = said.poses.take(np.minimum(left + 1, rows[-1]), axis=0)
        before += share[:, None, None] * (after - before)
    return before
