"""A world to put people in: z up, the floor at z = 0, metres, right-handed (REP-103).

It comes from one of two places. `camera_pose` says where a camera stands; cameras that have one share the
frame "world". With `floor: auto` the floor is found once, from people's feet and postures, and then held for
the rest of the run: who jumps leaves it. Nothing tells how two such cameras stand to each other, so each
has a frame of its own, "<source>_world": its origin lies on the floor below the camera, x points where the
camera looks. Until the floor is known, poses are in the camera's axes, and `frame_id` says that.
"""

import logging
import math
from collections.abc import Callable
from functools import cache, partial
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
from stream.rotations import quaternion
from stream.scene.floor import FloorEstimator, Plane
from stream.scene.foot_contact import FootContact, HeightReference, Point
from stream.skeletons import skeleton_named

log = logging.getLogger("poselift")

_EVERY = 25  # frames after which postures are asked again which way is up


class WorldSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the world frame.

    camera_pose: Pose of the camera in the world by source name.

    floor: How the floor is found: auto estimates it for sources without a camera pose, from the people who
    stand and walk on it; null leaves their poses in the camera's frame.

    patience_s: Seconds of upright people to wait for a person who walks about. After that the floor is
    estimated from upright bodies alone, which is less exact.
    """

    camera_pose: dict[str, CameraPose] = {}
    floor: Literal["auto"] | None = None
    patience_s: float = 10.0

    def __post_init__(self) -> None:
        if not 2 <= self.patience_s < math.inf:
            raise ConfigError(f"scene.world.patience_s: expected 2 or more seconds, got {self.patience_s}")

    @property
    def wanted(self) -> bool:
        return bool(self.camera_pose) or self.floor is not None


class CameraPlacements:
    """Where the cameras of a run stand: what is known of one is never changed again.

    settled: told the source and its images' size once a floor is found, before a pose over it is sent.
    """

    def __init__(self, settings: WorldSettings, settled: Callable[[str, tuple[int, int]], None]) -> None:
        self.settled = settled
        self._places = {source: _given(source, pose) for source, pose in settings.camera_pose.items()}

    def of(self, source: str) -> Extrinsics | None:
        return self._places.get(source)

    def settle(self, source: str, place: Extrinsics) -> None:
        self._places.setdefault(source, place)


class WorldFrame:
    """A step that says which feet rest on the floor and gives poses the world's axes."""

    def __init__(
        self, settings: WorldSettings, contact: bool, context: ComponentContext, worlds: CameraPlacements
    ) -> None:
        self._contact, self._find = contact, settings.floor is not None
        self._grounds = SourceState(lambda source, _: _Ground(source, settings, context.health, worlds))
        self._feet = PersonState(lambda skeleton: FootContact())

    def apply(self, batch: PoseBatch) -> None:
        ankles = _ankles(batch) if self._contact or self._find else []
        for moment in batch.frames:
            ground = self._grounds.get(moment)
            seeks = self._find and ground.place is None
            if self._contact or seeks:
                at_s = moment.header.captured_ns / 1e9
                for row, feet in self._feet.get(batch, moment):
                    batch.contact[row] = feet.update(ankles[row], ground.over, at_s)
            if seeks:
                ground.seek(batch, moment)
                if not self._contact:
                    batch.contact[moment.rows.start : moment.rows.stop] = [None] * len(moment.rows)
            ground.move(batch, moment)


def _ankles(batch: PoseBatch) -> list[tuple[Point | None, Point | None]]:
    """Where everybody's left and right ankle is in the camera's axes, as far as they are seen."""
    joints = _ankle_joints(batch.skeleton)
    places = batch.xyz.take(joints, axis=1) + batch.root[:, None].astype(np.float64)
    seen = (batch.visible.take(joints, axis=1) & np.isfinite(places[..., 0])).tolist()
    return [
        (tuple(left) if left_seen else None, tuple(right) if right_seen else None)
        for (left, right), (left_seen, right_seen) in zip(places.tolist(), seen, strict=True)
    ]


@cache
def _ankle_joints(skeleton: str) -> NDArray[np.intp]:
    return np.array([skeleton_named(skeleton).joints.index(name) for name in ("left_ankle", "right_ankle")])


class _Ground:
    """What is known of where one camera stands. place: once that is all."""

    def __init__(
        self, source: str, settings: WorldSettings, health: Health, worlds: CameraPlacements
    ) -> None:
        self._source, self._patience_s = source, settings.patience_s
        self._health, self._worlds = health, worlds
        self._floor: FloorEstimator | None = None
        self._looked = 0
        self.over = HeightReference((0.0, -1.0, 0.0), None)
        self.place: Extrinsics | None = None
        self._settle(worlds.of(source))

    def seek(self, batch: PoseBatch, moment: BatchFrame) -> None:
        """Look for the floor under the people of a moment."""
        source = self._source
        if self._floor is None:
            self._floor = FloorEstimator(batch.skeleton, self._patience_s)
            self._health.set_state(
                f"{source}.world", "waiting", "for people who stand or walk, feet in sight"
            )
        poses = [batch.pose(row) for row in moment.rows]
        seen = [pose for pose in poses if pose.root is not None]
        plane = self._floor.look(seen, moment.header.captured_ns / 1e9)
        self._looked += 1
        if plane is not None:
            self._worlds.settle(source, _found(source, plane))
            moment.before = partial(self._worlds.settled, source, moment.size_wh)
            self._settle(self._worlds.of(source))
        elif self._looked % _EVERY == 0 and (up := self._floor.guess()) is not None:
            x, y, z = up.tolist()
            self.over = HeightReference((x, y, z), None)

    def _settle(self, place: Extrinsics | None) -> None:
        """From now on poses are in the frame of `place`."""
        if place is None:
            return
        self.place, self._floor = place, None
        matrix = place.matrix()
        self._matrix, self._pos = matrix.T.astype(np.float32), np.array(place.pos, np.float32)
        x, y, z = matrix[2].tolist()
        self.over = HeightReference((x, y, z), place.pos[2])
        sure = f" (sd {place.height_sd_m:.2f} m, {place.tilt_sd_deg:.1f} degrees)"
        above = f"{place.pos[2]:.2f} m above the floor{sure if place.status == 'estimated' else ''}"
        says = f"{place.status}, {above}; poses are in {place.frame_id}"
        self._health.set_state(f"{self._source}.world", "ok", says)
        log.info("%s: the camera's place is %s", self._source, says)

    def move(self, batch: PoseBatch, moment: BatchFrame) -> None:
        """Give the people of a moment the axes of the world, once that is known."""
        if self.place is None:
            return
        rows = slice(moment.rows.start, moment.rows.stop)
        batch.xyz[rows] = batch.xyz[rows] @ self._matrix
        batch.root[rows] = batch.root[rows] @ self._matrix + self._pos
        moment.frame_id = self.place.frame_id


def _given(source: str, pose: CameraPose) -> Extrinsics:
    quat = quaternion(pose.matrix())
    return Extrinsics("world", f"{source}_optical_frame", pose.position_m, quat, "given")


def _found(source: str, plane: Plane) -> Extrinsics:
    """The world on this floor: its origin below the camera, its x where the camera looks."""
    ahead = np.array([0.0, 0.0, 1.0]) - plane.up[2] * plane.up
    if np.linalg.norm(ahead) < 0.1:  # it looks straight down or up: x is where the image's upper border is
        ahead = -np.array([0.0, 1.0, 0.0]) + plane.up[1] * plane.up
    ahead /= np.linalg.norm(ahead)
    matrix = np.stack([ahead, np.cross(plane.up, ahead), plane.up])
    return Extrinsics(
        f"{source}_world",
        f"{source}_optical_frame",
        (0.0, 0.0, plane.height_m),
        quaternion(matrix),
        "estimated",
        plane.tilt_sd_deg,
        plane.height_sd_m,
    )
