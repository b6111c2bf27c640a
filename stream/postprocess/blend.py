"""Blend successive lifter passes so that published poses have no jump between them.

Each pass reads its window from scratch, so it does not continue exactly where the previous pass ended.
Published poses never change; the frames after them are corrected by the difference of the previous pass
from the new one, which fades out. Where the previous pass looked ahead of its published frames, the
difference is known and fades as it is; after that a critically damped spring continues it from its size and
slope, so that neither position nor speed of a joint jumps.
"""

import weakref
from dataclasses import dataclass

import numpy as np

from stream.interpolation import fractional_rows, interpolate
from stream.messages import F32, I64
from stream.windows.ring import Ring

_SPRING_RATE = 5.0  # over `frames`: (1 + 5) e^-5, 4 % of a difference, remain after them
_OVERLAP = 3  # frames kept before the last published one: two for a slope, one for grids that do not meet
_MIN_AUTO_FRAMES, _MAX_AUTO_FRAMES = 5, 25


def default_blend_frames(lag: int) -> int:
    """Frames to fade over when the config does not set them, for `lag` frames of look-ahead.

    Without look-ahead a long fade costs accuracy; the more frames two passes share, the less it costs.
    Measured by benchmarks/pass_blending.py.
    """
    return min(_MIN_AUTO_FRAMES + lag, _MAX_AUTO_FRAMES)


@dataclass(frozen=True, slots=True, eq=False)
class _PassTail:
    """The end of a pass: poses (N, J, 3) at captured_ns (N,), published up to until_ns."""

    captured_ns: I64
    poses: F32
    until_ns: int


class PassBlender:
    """Blends each pass with the previous pass of the same person, who is known by their ring.

    The end of a pass is kept as long as its ring exists. frames: of the lifter, over which a difference
    fades; 0 leaves every pass as it is.
    """

    def __init__(self, frames: int) -> None:
        self._rate = _SPRING_RATE / frames if frames else 0.0  # of the spring, per frame
        self._tails: weakref.WeakKeyDictionary[Ring, _PassTail] = weakref.WeakKeyDictionary()

    def frames_needed(self, ring: Ring, captured_ns: I64, since_ns: int) -> int:
        """How many newest frames of a pass, at captured_ns (F,), are needed to publish from since_ns on."""
        tail = self._tails.get(ring)
        if tail is not None:
            since_ns = min(since_ns, tail.until_ns)
        first = int(captured_ns.searchsorted(since_ns, "right")) - 1 - _OVERLAP
        return len(captured_ns) - max(first, 0)

    def blend(self, ring: Ring, captured_ns: I64, poses: F32, until_ns: int) -> F32:
        """The poses (N, J, 3) of a pass, at captured_ns (N,), as a continuation of this ring's previous pass.

        until_ns: time up to which this pass is published.
        """
        if not self._rate:
            return poses
        tail = self._tails.get(ring)
        if tail is not None and captured_ns[0] <= tail.until_ns:
            poses = self._blend(tail, captured_ns, poses)
        # Poses may be published for times after the last detection; those hold the pass's newest pose.
        until_ns = min(until_ns, int(captured_ns[-1]))
        start = max(int(captured_ns.searchsorted(until_ns, "right")) - _OVERLAP, 0)
        self._tails[ring] = _PassTail(captured_ns[start:], poses[start:], until_ns)
        return poses

    def _blend(self, tail: _PassTail, captured_ns: I64, poses: F32) -> F32:
        published = int(captured_ns.searchsorted(tail.until_ns, "right")) - 1  # last row that is published
        shared = int(captured_ns.searchsorted(tail.captured_ns[-1], "right")) - 1  # last row of both passes
        first, seam = _seam(captured_ns, published, tail.until_ns)
        # Over the rows of both passes the difference is known; after the seam it fades.
        difference = interpolate(
            tail.poses, fractional_rows(tail.captured_ns, captured_ns[first : shared + 1])
        )
        difference -= poses[first : shared + 1]
        size = difference[-1]
        if shared > seam:
            phase = self._rate * np.maximum(np.arange(first - seam, shared + 1 - seam), 0.0)
            difference *= ((1 + phase) * np.exp(-phase)).astype(np.float32)[:, None, None]
        slope = size - difference[-2] if len(difference) > 1 else np.zeros_like(size)
        # Over the rows after them the spring continues it.
        step = np.arange(1, len(poses) - shared, dtype=np.float32)[:, None, None]
        continued = (size + (slope + self._rate * size) * step) * np.exp(-self._rate * step)
        return np.concatenate(
            [poses[:first], poses[first : shared + 1] + difference, poses[shared + 1 :] + continued]
        )


def _seam(captured_ns: I64, published: int, until_ns: int) -> tuple[int, float]:
    """The first row at which passes are compared, and the fractional row at which publishing stopped.

    published: the last row of captured_ns (N,) that is not after until_ns.
    """
    before_ns, *after_ns = captured_ns[max(published - 1, 0) : published + 2].tolist()
    published_ns = after_ns.pop(0) if published else before_ns
    first = published - 1 if before_ns < published_ns else published
    step_ns = after_ns[0] - published_ns if after_ns else 1
    return first, published + (until_ns - published_ns) / step_ns
