"""Pose frames between the lifter and the sinks, as arrays over all their people: a batch costs little more
than one person. Also what post-processing steps are made of: their protocol and their state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import numpy as np

from stream.messages import (
    F32,
    U8,
    Contact,
    Header,
    JointOrigin,
    Latency,
    Mask,
    Pose,
    RootStatus,
    Rotations,
    State,
    WindowInfo,
)

Size = tuple[int, int]  # width and height in pixels
T = TypeVar("T")

_OBSERVED, _INTERPOLATED = int(JointOrigin.OBSERVED), int(JointOrigin.INTERPOLATED)


@dataclass(slots=True, eq=False)
class BatchFrame:
    """One captured frame of a source, of size `size_wh`; its people are these `rows` of the batch.

    frame_id: the axes of their poses. hop, window, latency_ms, dropped: as in `PoseFrame`.
    """

    header: Header
    size_wh: Size
    rows: range
    frame_id: str
    hop: int = 1
    window: WindowInfo = field(default_factory=WindowInfo)
    latency_ms: Latency = field(default_factory=Latency)
    dropped: int = 0


@dataclass(slots=True, eq=False)
class BatchRotations:
    """Rotations of the P persons of a batch on the rig's B bones (`stream.rig`), NaN for lost persons.

    quat (P, B, 4) float32, x y z w, local; rest (P, B, 3) float32 m; twist (P, B) uint8.
    """

    quat: F32
    rest: F32
    twist: U8


class PoseBatch:
    """Frames of any sources, those of one source in order of capture, and the P people in them.

    ids, states, root_status, contact, repaired: lists with an entry per person; xyz, keypoints (P, J, 3),
    score (P, J), root (P, 3) float32 and origin (P, J) uint8 as in `Pose`, absent values NaN.
    Post-processors change xyz, root, root_status and contact.
    """

    def __init__(
        self, skeleton: str, joints: int, frames: list[BatchFrame], ids: list[str], states: list[State]
    ) -> None:
        people = len(ids)
        self.skeleton, self.frames, self.ids, self.states = skeleton, frames, ids, states
        self.xyz: F32 = np.full((people, joints, 3), np.nan, np.float32)
        self.keypoints: F32 = np.full((people, joints, 3), np.nan, np.float32)
        self.score: F32 = np.zeros((people, joints), np.float32)
        self.origin: U8 = np.zeros((people, joints), np.uint8)
        self.root: F32 = np.full((people, 3), np.nan, np.float32)
        self.root_status: list[RootStatus] = ["none"] * people
        self.contact: list[Contact | None] = [None] * people
        self.repaired: list[tuple[int, ...]] = [()] * people
        self.rotations: BatchRotations | None = None

    @classmethod
    def from_poses(
        cls, skeleton: str, header: Header, size_wh: Size, poses: Sequence[Pose], frame_id: str
    ) -> "PoseBatch":
        """A batch of a single frame with these people in it."""
        ids, states = [pose.id for pose in poses], [pose.state for pose in poses]
        frame = BatchFrame(header, size_wh, range(len(poses)), frame_id)
        batch = cls(skeleton, len(poses[0].xyz) if poses else 0, [frame], ids, states)
        for row, pose in enumerate(poses):
            batch.xyz[row], batch.score[row], batch.origin[row] = pose.xyz, pose.score, pose.origin
            if pose.kp2d is not None:
                batch.keypoints[row] = pose.kp2d
            if pose.root is not None:
                batch.root[row] = pose.root
            batch.root_status[row], batch.contact[row] = pose.root_status, pose.contact
            batch.repaired[row] = pose.repaired
        return batch

    @cached_property
    def visible(self) -> Mask:
        """Which joints (P, J) were detected, as `Pose.visible`."""
        interpolated = (self.origin == _INTERPOLATED) & (self.score > 0)
        visible: Mask = (self.origin == _OBSERVED) | interpolated
        return visible

    def pose(self, row: int, kp2d: bool = True) -> Pose:
        """The person in a row. kp2d: include the keypoints, except those of lost people."""
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
            self.repaired[row],
        )

    def _rotations(self, row: int) -> Rotations | None:
        rotations = self.rotations
        if rotations is None or self.states[row] == "lost":
            return None
        return Rotations(rotations.quat[row], rotations.rest[row], rotations.twist[row])


class PostProcessor(Protocol):
    """A step that changes poses between the lifter and the sinks."""

    def apply(self, batch: PoseBatch) -> None:
        """Change the batch in place."""


class SourceState(Generic[T]):
    """A value per source, by `make(source, size_wh)`; made again when a camera changes its resolution."""

    def __init__(self, make: Callable[[str, Size], T]) -> None:
        self._make = make
        self._values: dict[str, tuple[Size, T]] = {}

    def get(self, frame: BatchFrame) -> T:
        """The value of the frame's source."""
        source = frame.header.source
        entry = self._values.get(source)
        if entry is None or entry[0] != frame.size_wh:
            entry = self._values[source] = frame.size_wh, self._make(source, frame.size_wh)
        return entry[1]

    def forget(self, source: str) -> None:
        """Make the value of a source again when its next frame comes."""
        self._values.pop(source, None)


class PersonState(Generic[T]):
    """A value per person, by `make(skeleton)`: made on first appearance, dropped when the person is lost."""

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make
        self._people = SourceState[dict[str, T]](lambda source, size_wh: {})

    def get(self, batch: PoseBatch, frame: BatchFrame) -> list[tuple[int, T]]:
        """Row and value of each person in the next frame of a source, lost people excepted."""
        people = self._people.get(frame)
        previous = people.copy()
        people.clear()  # a frame holds all people of its source, so the others are gone
        rows_and_values = []
        for row in frame.rows:
            id, state = batch.ids[row], batch.states[row]
            if state != "lost":
                value = previous.get(id) if state != "new" else None
                people[id] = value = self._make(batch.skeleton) if value is None else value
                rows_and_values.append((row, value))
        return rows_and_values
