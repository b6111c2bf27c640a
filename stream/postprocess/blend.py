"""Blend successive lifter passes so that published poses have no jump between them.

Each pass reads its window from scratch, so it does not continue exactly where the previous pass ended.
Published poses never change; the frames after them are corrected by the difference of the previous pass
from the new one, which fades out. Where the previous pass looked ahead of its published frames, the
difference is known and fades as it is; after that a critically damped spring continues it from its size and
slope, so that neither position nor speed of a joint jumps.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.interpolation import fractional_rows, fractional_rows_of_many, interpolate
from stream.messages import F32, I64
from stream.rotations import F64
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
        """`blend_all` of the pass (N, J, 3) of one person."""
        if not self._rate:
            return poses
        blended: F32 = self.blend_all([PersonPass(ring, captured_ns, until_ns)], poses[None])[0]
        return blended

    def blend_all(self, passes: Sequence["PersonPass"], poses: F32) -> F32:
        """The poses (B, N, J, 3) of the passes of B people, as continuations of their previous passes."""
        if not self._rate:
            return poses
        blended = poses.copy()
        # The passes of a batch mostly overlap alike with those before, and then cost little more than one.
        groups: dict[tuple[int, int, bool], list[tuple[int, _Overlap]]] = {}
        for row, lifted in enumerate(passes):
            tail = self._tails.get(lifted.ring)
            if tail is not None and lifted.captured_ns[0] <= tail.until_ns:
                overlap = _overlap(tail, lifted.captured_ns)
                shape = overlap.first, overlap.shared, overlap.shared > overlap.seam
                groups.setdefault(shape, []).append((row, overlap))
        for (first, shared, _), members in groups.items():
            if len(members) < 3:
                for row, overlap in members:
                    blended[row] = self._blend(overlap, poses[row])
                continue
            rows, overlaps = [row for row, _ in members], [overlap for _, overlap in members]
            correction = self._correction(overlaps, poses[rows, first : shared + 1], poses.shape[1])
            blended[rows, first:] = poses[rows, first:] + correction
        for lifted, person_poses in zip(passes, blended, strict=True):
            self._keep_tail(lifted, person_poses)
        return blended

    def _keep_tail(self, lifted: "PersonPass", poses: F32) -> None:
        # Poses may be published for times after the last detection; those hold the pass's newest pose.
        until_ns = min(lifted.until_ns, int(lifted.captured_ns[-1]))
        start = max(int(lifted.captured_ns.searchsorted(until_ns, "right")) - _OVERLAP, 0)
        # Copies, which do not keep the arrays of the whole batch alive.
        self._tails[lifted.ring] = _PassTail(
            lifted.captured_ns[start:].copy(), poses[start:].copy(), until_ns
        )

    def _blend(self, overlap: "_Overlap", poses: F32) -> F32:
        """The poses (N, J, 3) of one person, blended as by `_correction`; faster for few people."""
        tail, first, shared, shared_ns, seam = overlap
        # Over the rows of both passes the difference is known; after the seam it fades.
        difference = interpolate(tail.poses, fractional_rows(tail.captured_ns, shared_ns))
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

    def _correction(self, overlaps: Sequence["_Overlap"], shared_poses: F32, frames: int) -> F32:
        """What to add to the poses of passes (B, first..frames, J, 3) that overlap alike.

        shared_poses (B, R, J, 3): of the rows that are part of both passes.
        """
        first, shared = overlaps[0].first, overlaps[0].shared
        tails = [overlap.tail for overlap in overlaps]
        rows, start = fractional_rows_of_many(
            [tail.captured_ns for tail in tails], np.array([overlap.shared_ns for overlap in overlaps])
        )
        # Over the rows of both passes the difference is known; after the seam it fades.
        difference = _interpolate_all([tail.poses for tail in tails], rows, start)
        difference -= shared_poses
        if shared > overlaps[0].seam:
            seam = np.array([overlap.seam for overlap in overlaps])[:, None]
            phase = self._rate * np.maximum((first - seam) + np.arange(shared + 1 - first), 0.0)
            difference *= ((1 + phase) * np.exp(-phase)).astype(np.float32)[..., None, None]
        size = difference[:, -1:]
        slope = size - difference[:, -2:-1] if difference.shape[1] > 1 else np.zeros_like(size)
        # Over the rows after them the spring continues it.
        step = np.arange(1, frames - shared, dtype=np.float32)[:, None, None]
        continued = (size + (slope + self._rate * size) * step) * np.exp(-self._rate * step)
        return np.concatenate([difference, continued], axis=1)


class PersonPass(NamedTuple):
    """The pass of one person: times captured_ns (N,) of its poses; it is published up to until_ns."""

    ring: Ring
    captured_ns: I64
    until_ns: int


class _Overlap(NamedTuple):
    """How a pass overlaps with the tail of the pass before: rows `first` to `shared` are part of both.

    shared_ns (R,): their times. seam: the fractional row at which publishing stopped.
    """

    tail: _PassTail
    first: int
    shared: int
    shared_ns: I64
    seam: float


def _overlap(tail: _PassTail, captured_ns: I64) -> _Overlap:
    published = int(captured_ns.searchsorted(tail.until_ns, "right")) - 1  # last row that is published
    shared = int(captured_ns.searchsorted(tail.captured_ns[-1], "right")) - 1  # last row of both passes
    first, seam = _seam(captured_ns, published, tail.until_ns)
    return _Overlap(tail, first, shared, captured_ns[first : shared + 1], seam)


def _interpolate_all(values: Sequence[F32], rows: F64, start: NDArray[np.intp]) -> F32:
    """`interpolate` of B series of values at rows (B, T), where series b begins at row start[b] of all."""
    before_row = rows.astype(np.intp)
    weight = (rows - before_row).astype(np.float32)
    everything = np.concatenate(values)
    before: F32 = everything.take(before_row + start, axis=0)
    if weight.any():
        newest = np.array([len(series) for series in values])[:, None] - 1
        after = everything.take(np.minimum(before_row + 1, newest) + start, axis=0)
        before += weight[..., None, None] * (after - before)
    return before


def _seam(captured_ns: I64, published: int, until_ns: int) -> tuple[int, float]:
    """The first row at which passes are compared, and the fractional row at which publishing stopped.

    published: the last row of captured_ns (N,) that is not after until_ns.
    """
    before_ns, *after_ns = captured_ns[max(published - 1, 0) : published + 2].tolist()
    published_ns = after_ns.pop(0) if published else before_ns
    first = published - 1 if before_ns < published_ns else published
    step_ns = after_ns[0] - published_ns if after_ns else 1
    return first, published + (until_ns - published_ns) / step_ns
