"""The lengths of a person's bones, learned while they are watched and then held."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.messages import F32

_SAMPLE_NS = 50_000_000  # between two looks at the bones: what is nearer in time says nothing new
_SAMPLES = 600  # looks remembered: 30 s
_LEAST = 5  # looks at a bone before it is touched; with twice as many its length is fully trusted


class BoneLengths:
    """The lengths of one person's bones: medians over the last 30 s of looks at them, 50 ms apart.

    Only bones whose two joints were observed are looked at; a pose is first changed after a quarter of a
    second of them, fully after half a second.
    """

    def __init__(self, skeleton: str) -> None:
        self._tree = _tree(skeleton)
        joints = len(self._tree.parents)
        self._looks: F32 = np.full((_SAMPLES, joints), np.nan, np.float32)
        self._count = 0
        self._next_ns: int | None = None
        self._length: F32 = np.zeros(joints, np.float32)
        self._trust: F32 = np.zeros(joints, np.float32)  # 0..1

    def look(self, xyz: F32, seen: NDArray[np.bool_], captured_ns: int) -> None:
        """Remember the lengths in a pose (J, 3) metres between joints seen (J,), if it is time for a look."""
        if self._next_ns is not None and 0 < self._next_ns - captured_ns <= _SAMPLE_NS:
            return
        length = np.linalg.norm(xyz - xyz[self._tree.parents], axis=1)
        usable = seen & seen[self._tree.parents] & (length > 0)  # never the root, which is its own parent
        if not usable.any():
            return
        self._next_ns = captured_ns + _SAMPLE_NS
        self._looks[self._count % _SAMPLES] = np.where(usable, length, np.nan)
        self._count += 1
        looks = np.sort(self._looks[: self._count], axis=0)  # NaN comes last
        seen_times = np.isfinite(looks).sum(axis=0)
        median = looks[np.maximum(seen_times - 1, 0) // 2, np.arange(len(length))]
        self._length = np.nan_to_num(median)
        self._trust = np.clip(seen_times / _LEAST - 1, 0, 1).astype(np.float32)

    def project(self, xyz: F32) -> F32:
        """The pose (J, 3) with every bone in its direction and at its length, from the root outwards."""
        bone = xyz - xyz[self._tree.parents]
        length = np.linalg.norm(bone, axis=1)
        known = np.isfinite(length) & (length > 0)
        stretch = np.where(known, self._trust * (self._length / np.where(known, length, 1) - 1), 0)
        moved = np.where(known[:, None], bone, 0) * stretch[:, None]
        return (xyz + self._tree.above @ moved).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Tree:
    """parents (J,), of the root itself; above (J, J): 1 where the row's joint hangs on the column's bone."""

    parents: NDArray[np.intp]
    above: F32


@cache
def _tree(name: str) -> _Tree:
    skeleton = skeletons.skeleton_named(name)
    joints = len(skeleton.joints)
    above = np.zeros((joints, joints), np.float32)
    for joint in range(joints):
        carrier = joint
        while skeleton.parents[carrier] >= 0:
            above[joint, carrier] = 1
            carrier = skeleton.parents[carrier]
    parents = np.array([j if up < 0 else up for j, up in enumerate(skeleton.parents)])
    return _Tree(parents, above)
