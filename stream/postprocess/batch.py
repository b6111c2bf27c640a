"""Pose frames on their way from the lifter to the sinks, as arrays: many people cost little more than one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.messages import (
    F32,
    U8,
    Contact,
    Header,
    JointOrigin,
    Latency,
    Pose,
    RootStatus,
    Rotations,
    State,
    WindowInfo,
)

_OBSERVED, _INTERPOLATED = int(JointOrigin.OBSERVED), int(JointOrigin.INTERPOLATED)


@dataclass(slots=True, eq=False)
class BatchFrame:
    """One captured frame of a source, `size_wh` large; the people in it are these `rows` of the batch.

    frame_id: of the axes their poses are in. hop, window, latency_ms, dropped: as in `PoseFrame`.
    before: what is to be done before it is published.
    """

    header: Header
    size_wh: tuple[int, int]
    rows: range
    frame_id: str
    hop: int = 1
    window: WindowInfo = field(default_factory=WindowInfo)
    latency_ms: Latency = field(default_factory=Latency)
    dropped: int = 0
    before: Callable[[], None] | None = None


@dataclass(slots=True, eq=False)
class BatchRotations:
    """Rotations of the P persons of a batch on the rig's B bones (`stream.rig`), NaN for lost persons.

    quat (P, B, 4) float32, x y z w, local; rest (P, B, 3) float32 m; twist (P, B) uint8.
    """

    quat: F32
    rest: F32
    twist: U8


class PoseBatch:
    """Moments of any sources, those of one in order of capture, and the P people in them.

    ids, states: of every person; xyz, keypoints (P, J, 3), score (P, J), root (P, 3) float32 and origin
    (P, J) uint8 as in `Pose`, with NaN for what there is not. Steps change xyz, root, root_status, contact.
    """

    def __init__(
        self, skeleton: str, joints: int, frames: list[BatchFrame], ids: list[str], states: list[State]
    ) -> None:
        people = len(ids)
        self.skeleton, self.frames, self.ids, self.states = skeleton, frames, ids, states
        self.xyz: F32 = np.empty((people, joints, 3), np.float32)
        self.keypoints: F32 = np.empty((people, joints, 3), np.float32)
        self.score: F32 = np.zeros((people, joints), np.float32)
        self.origin: U8 = np.zeros((people, joints), np.uint8)
        self.root: F32 = np.empty((people, 3), np.float32)
        for absent in (self.xyz, self.keypoints, self.root):
            absent.fill(np.nan)
        self.root_status: list[RootStatus] = ["none"] * people
        self.contact: list[Contact | None] = [None] * people
        self.rotations: BatchRotations | None = None

    @classmethod
    def of(
        cls, skeleton: str, header: Header, size_wh: tuple[int, int], poses: Sequence[Pose], frame_id: str
    ) -> "PoseBatch":
        """A single moment with these people in it."""
        ids, states = [pose.id for pose in poses], [pose.state for pose in poses]
        moment = BatchFrame(header, size_wh, range(len(poses)), frame_id)
        batch = cls(skeleton, len(poses[0].xyz) if poses else 0, [moment], ids, states)
        for row, pose in enumerate(poses):
            batch.xyz[row], batch.score[row], batch.origin[row] = pose.xyz, pose.score, pose.origin
            if pose.kp2d is not None:
                batch.keypoints[row] = pose.kp2d
            if pose.root is not None:
                batch.root[row] = pose.root
            batch.root_status[row], batch.contact[row] = pose.root_status, pose.contact
        return batch

    @cached_property
    def visible(self) -> NDArray[np.bool_]:
        """Which joints (P, J) somebody saw, as `Pose.visible`."""
        return (self.origin == _OBSERVED) | ((self.origin == _INTERPOLATED) & (self.score > 0))

    def pose(self, row: int, kp2d: bool = True) -> Pose:
        """The person in a row; kp2d: with the keypoints, unless they are lost."""
        root: F32 = self.root[row]
        return Pose(
            self.ids[row],
            self.states[row],
            self.xyz[row],
            self.score[row],
            self.origin[row],
            root if root[0] == root[0] else None,
            self.root_status[row],
            self.keypoints[row] if kp2d and self.states[row] != "lost" else None,
            self.contact[row],
            self._rotations(row),
        )

    def _rotations(self, row: int) -> Rotations | None:
        rotations = self.rotations
        if rotations is None or self.states[row] == "lost":
            return None
        return Rotations(rotations.quat[row], rotations.rest[row], rotations.twist[row])


T = TypeVar("T")


Size = tuple[int, int]


class PostProcessor(Protocol):
    """One improvement of pose frames."""

    def apply(self, batch: PoseBatch) -> None: ...


class SourceState(Generic[T]):
    """Something of every source; when a camera changes its resolution, it is made anew."""

    def __init__(self, make: Callable[[str, Size], T]) -> None:
        self._make = make
        self._known: dict[str, tuple[Size, T]] = {}

    def get(self, moment: BatchFrame) -> T:
        source = moment.header.source
        known = self._known.get(source)
        if known is None or known[0] != moment.size_wh:
            known = self._known[source] = moment.size_wh, self._make(source, moment.size_wh)
        return known[1]


class PersonState(Generic[T]):
    """Something of every person in sight, by `make(skeleton)`: anew for who is new, gone with who is lost."""

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make
        self._people = SourceState[dict[str, T]](lambda source, size_wh: {})

    def get(self, batch: PoseBatch, moment: BatchFrame) -> list[tuple[int, T]]:
        """Of everybody in the next moment of a source who is not lost: their row, and what is theirs."""
        people = self._people.get(moment)
        before = people.copy()
        people.clear()  # every moment has everybody known, so others are gone
        found = []
        for row in moment.rows:
            id, state = batch.ids[row], batch.states[row]
            if state != "lost":
                known = before.get(id) if state != "new" else None
                people[id] = known = self._make(batch.skeleton) if known is None else known
                found.append((row, known))
        return found
