"""Poses in a world frame: z up, the floor at z = 0, metres, right-handed (REP-103).

There are two ways to it. `camera_pose` gives the pose of a camera; all cameras that have one share the frame
"world". With `floor: auto` the floor before a camera is found once, from people's feet and postures, and then
kept for the rest of the run, so that a person who jumps leaves it. Nothing relates two such cameras, so each
has a frame of its own, "<source>_world": its origin lies on the floor below the camera, x points where the
camera looks. Until the floor is found, poses are in the camera's axes; their `frame_id` names the axes.
"""

import logging
import math
from collections.abc import Mapping
from functools import cache
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.camera_info import Extrinsics
from stream.cameras.extrinsics import CameraPose
from stream.errors import ConfigError
from stream.health import Health
from stream.postprocess.batch import BatchFrame, PersonState, PoseBatch, SourceState
from stream.protocols import ComponentContext
from stream.rotations import level_axes, quaternion_from_matrix
from stream.scene.floor import FloorEstimator, Plane
from stream.scene.foot_contact import FootContact, HeightReference, Point
from stream.skeletons import skeleton_named

log = logging.getLogger("poselift")

_GUESS_INTERVAL = 25  # frames between two guesses of the up vector, while the floor is not found
_MIN_LEVEL_PART = 0.1  # of the viewing direction; with less the camera looks straight down or up
_OPTICAL_UP: Point = (0.0, -1.0, 0.0)


class CameraPlacements:
    """Where the cameras of a run are, by source name; only `reset` changes the placement of a camera."""

    def __init__(self, poses: Mapping[str, CameraPose]) -> None:
        self._placements = {source: _from_pose(source, pose) for source, pose in poses.items()}

    def get(self, source: str) -> Extrinsics | None:
        """The placement of a camera; None as long as it is unknown."""
        return self._placements.get(source)

    def set(self, source: str, placement: Extrinsics) -> Extrinsics:
        """Place a camera, unless it has a placement already; returns the one that holds."""
        return self._placements.setdefault(source, placement)

    def reset(self, source: str, pose: CameraPose | None) -> None:
        """Place a camera that was opened anew, or, with None, forget its placement."""
        self._placements.pop(source, None)
        if pose is not None:
            self._placements[source] = _from_pose(source, pose)


class WorldFrame:
    """A post-processor that finds foot contacts and moves poses into the world."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of the world frame.

        camera_pose: Pose of the camera in the world by source name.

        floor: How the floor is found: auto estimates it for sources without a camera pose, from the people
        who stand and walk on it; null leaves their poses in the camera's frame.

        patience_s: Seconds of upright people to wait for a person who walks about. After that the floor is
        estimated from upright bodies alone, which is less exact.
        """

        camera_pose: dict[str, CameraPose] = {}
        floor: Literal["auto"] | None = None
        patience_s: float = 10.0

        def __post_init__(self) -> None:
            if not 2 <= self.patience_s < math.inf:
                raise ConfigError(
                    f"scene.world.patience_s: expected 2 or more seconds, got {self.patience_s}"
                )

        @property
        def enabled(self) -> bool:
            """Whether any source has a world frame."""
            return bool(self.camera_pose) or self.floor is not None

    def __init__(
        self, settings: Settings, contact: bool, context: ComponentContext, placements: CameraPlacements
    ) -> None:
        patience_s = None if settings.floor is None else settings.patience_s
        self._contact = contact
        self._sources = SourceState(lambda source, _: _Source(source, patience_s, context.health, placements))
        self._feet = PersonState(lambda skeleton: FootContact())

    def apply(self, batch: PoseBatch) -> None:
        """Set contact, xyz, root and the frames' frame_id of the batch."""
        sources = [self._sources.get(frame) for frame in batch.frames]
        need_ankles = self._contact or any(source.searches_floor for source in sources)
        ankles = _ankles(batch) if need_ankles else []
        for frame, source in zip(batch.frames, sources, strict=True):
            search = source.searches_floor
            if self._contact or search:
                at_s = frame.header.captured_ns / 1e9
                for row, feet in self._feet.get(batch, frame):
                    batch.contact[row] = feet.update(ankles[row], source.height_reference, at_s)
            if search:
                source.search_floor(batch, frame)
                if not self._contact:
                    batch.contact[frame.rows.start : frame.rows.stop] = [None] * len(frame.rows)
            source.to_world(batch, frame)

    def forget(self, source: str) -> None:
        """Forget the floor and the placement of a source that has ended."""
        self._sources.forget(source)


def _ankles(batch: PoseBatch) -> list[tuple[Point | None, Point | None]]:
    """Left and right ankle of each person in the camera's axes, metres; None where not visible."""
    joints = _ankle_joints(batch.skeleton)
    points = batch.xyz.take(joints, axis=1) + batch.root[:, None].astype(np.float64)
    visible = (batch.visible.take(joints, axis=1) & np.isfinite(points[..., 0])).tolist()
    return [
        (tuple(left) if left_visible else None, tuple(right) if right_visible else None)
        for (left, right), (left_visible, right_visible) in zip(points.tolist(), visible, strict=True)
    ]


@cache
def _ankle_joints(skeleton: str) -> NDArray[np.intp]:
    return np.array([skeleton_named(skeleton).joints.index(name) for name in ("left_ankle", "right_ankle")])


class _Source:
    """The floor search and the world transform of one source.

    patience_s: of the floor search; None does not search.
    """

    def __init__(
        self, source: str, patience_s: float | None, health: Health, placements: CameraPlacements
    ) -> None:
        self._source, self._patience_s = source, patience_s
        self._health, self._placements = health, placements
        self._floor: FloorEstimator | None = None
        self._searched_frames = 0
        self._placement: Extrinsics | None = None
        self.height_reference = HeightReference(_OPTICAL_UP, None)
        if (placement := placements.get(source)) is not None:
            self._place(placement)

    @property
    def searches_floor(self) -> bool:
        return self._patience_s is not None and self._placement is None

    def search_floor(self, batch: PoseBatch, frame: BatchFrame) -> None:
        """Search the floor below the people of a frame; place the camera once it is found."""
        floor = self._floor = self._floor or self._start_search(batch.skeleton)
        poses = [pose for row in frame.rows if (pose := batch.pose(row)).root is not None]
        plane = floor.observe(poses, frame.header.captured_ns / 1e9)
        self._searched_frames += 1
        if plane is not None:
            self._place(self._placements.set(self._source, _from_floor(self._source, plane)))
        elif self._searched_frames % _GUESS_INTERVAL == 0 and (up := floor.guess_up()) is not None:
            x, y, z = up.tolist()
            self.height_reference = HeightReference((x, y, z), None)

    def to_world(self, batch: PoseBatch, frame: BatchFrame) -> None:
        """Move the people of a frame into the world, if the camera has a placement."""
        if self._placement is None:
            return
        rows = slice(frame.rows.start, frame.rows.stop)
        batch.xyz[rows] = batch.xyz[rows] @ self._rotation
        batch.root[rows] = batch.root[rows] @ self._rotation + self._translation
        frame.frame_id = self._placement.frame_id

    def _start_search(self, skeleton: str) -> FloorEstimator:
        assert self._patience_s is not None
        self._health.set_state(
            f"{self._source}.world", "waiting", "for people who stand or walk, with their feet in view"
        )
        return FloorEstimator(skeleton, self._patience_s)

    def _place(self, placement: Extrinsics) -> None:
        """Move poses into the frame of `placement` from the next frame on."""
        self._placement, self._floor = placement, None
        matrix = placement.matrix()
        self._rotation = matrix.T.astype(np.float32)
        self._translation = np.array(placement.pos, np.float32)
        x, y, z = matrix[2].tolist()
        self.height_reference = HeightReference((x, y, z), placement.pos[2])
        text = f"{placement.status}, {placement.pos[2]:.2f} m above the floor"
        if placement.status == "estimated":
            text += f" (sd {placement.height_sd_m:.2f} m, {placement.tilt_sd_deg:.1f} degrees)"
        text += f"; poses are in {placement.frame_id}"
        self._health.set_state(f"{self._source}.world", "ok", text)
        log.info("%s: the camera's placement is %s", self._source, text)


def _from_pose(source: str, pose: CameraPose) -> Extrinsics:
    quat = quaternion_from_matrix(pose.matrix())
    return Extrinsics("world", f"{source}_optical_frame", pose.position_m, quat, "given")


def _from_floor(source: str, plane: Plane) -> Extrinsics:
    """The world on this floor: its origin below the camera, x where the camera looks."""
    forward = np.array([0.0, 0.0, 1.0])
    if math.hypot(plane.up[0], plane.up[1]) < _MIN_LEVEL_PART:
        forward = np.array([0.0, -1.0, 0.0])  # straight down or up: x is where the image's upper border is
    return Extrinsics(
        f"{source}_world",
        f"{source}_optical_frame",
        (0.0, 0.0, plane.height_m),
        quaternion_from_matrix(level_axes(plane.up, forward)),
        "estimated",
        plane.tilt_sd_deg,
        plane.height_sd_m,
    )
