"""The bone lengths of a person, measured over time and then kept constant."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.messages import F32, Mask

_SAMPLE_NS = 50_000_000  # between two samples: poses nearer in time hold the same errors
_MAX_SAMPLES = 600  # 30 s
_MIN_SAMPLES = 5  # of a bone before it is changed; with twice as many its length is fully trusted


class BoneLengths:
    """The bone lengths of one person: medians over samples of the last 30 s, 50 ms apart.

    A bone is sampled while both of its joints are observed. Its length is applied after a quarter of a second
    of samples, fully after half a second.
    """

    def __init__(self, skeleton: str) -> None:
        self._tree = _tree(skeleton)
        joints = len(self._tree.parents)
        self._samples: F32 = np.full((_MAX_SAMPLES, joints), np.nan, np.float32)
        self._count = 0
        self._next_ns: int | None = None
        self._length: F32 = np.zeros(joints, np.float32)
        self._confidence: F32 = np.zeros(joints, np.float32)  # 0..1

    def observe(self, xyz: F32, visible: Mask, captured_ns: int) -> None:
        """Sample the bones of a pose (J, 3) metres between visible joints (J,), at most every 50 ms."""
        if self._next_ns is not None and 0 < self._next_ns - captured_ns <= _SAMPLE_NS:
            return
        length = np.linalg.norm(xyz - xyz[self._tree.parents], axis=1)
        usable = visible & visible[self._tree.parents] & (length > 0)  # never the root, its own parent
        if not usable.any():
            return
        self._next_ns = captured_ns + _SAMPLE_NS
        self._samples[self._count % _MAX_SAMPLES] = np.where(usable, length, np.nan)
        self._count += 1
        ordered = np.sort(self._samples[: self._count], axis=0)  # NaN comes last
        counts = np.isfinite(ordered).sum(axis=0)
        median = ordered[np.maximum(counts - 1, 0) // 2, np.arange(len(length))]
        self._length = np.nan_to_num(median)
        self._confidence = np.clip(counts / _MIN_SAMPLES - 1, 0, 1).astype(np.float32)

    def apply(self, xyz: F32) -> F32:
        """The pose (J, 3) metres with each bone in its direction and at its length, from the root out."""
        bone = xyz - xyz[self._tree.parents]
        length = np.linalg.norm(bone, axis=1)
        usable = np.isfinite(length) & (length > 0)
        stretch = np.where(usable, self._confidence * (self._length / np.where(usable, length, 1) - 1), 0)
        offset = np.where(usable[:, None], bone, 0) * stretch[:, None]
        corrected: F32 = (xyz + self._tree.ancestors @ offset).astype(np.float32)
        return corrected


@dataclass(frozen=True, slots=True)
class _Tree:
    """A skeleton's bones, each named by the joint it ends in.

    parents (J,): the root is its own parent; ancestors (J, J): 1 where moving bone j moves joint i.
    """

    parents: NDArray[np.intp]
    ancestors: F32


@cache
def _tree(name: str) -> _Tree:
    skeleton = skeletons.skeleton_named(name)
    joints = len(skeleton.joints)
    ancestors = np.zeros((joints, joints), np.float32)
    for joint in range(joints):
        ancestor = joint
        while skeleton.parents[ancestor] >= 0:
            ancestors[joint, ancestor] = 1
            ancestor = skeleton.parents[ancestor]
    parents = np.array([j if parent < 0 else parent for j, parent in enumerate(skeleton.parents)])
    return _Tree(parents, ancestors)
