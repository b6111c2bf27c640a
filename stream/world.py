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
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np

from stream.camera_pose import CameraPose, Triple
from stream.contact import Feet, Over
from stream.context import Context
from stream.errors import ConfigError
from stream.floor import Floor, Plane
from stream.messages import Pose, PoseFrame
from stream.skeletons import get
from stream.viewpoint import Extrinsics, quaternion

log = logging.getLogger("poselift")

_EVERY = 25  # frames after which postures are asked again which way is up


class WorldSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """camera_pose: by source, see CameraPose. floor: auto finds it for sources without a pose; null: they
    stay in the camera's axes. patience_s: for how many seconds of seeing people upright one waits for
    somebody to walk about; after that how people hold themselves must do.
    """

    camera_pose: dict[str, CameraPose] = {}
    floor: Literal["auto"] | None = None
    patience_s: float = 10.0

    def __post_init__(self) -> None:
        if not 2 <= self.patience_s < math.inf:
            raise ConfigError(f"space.world.patience_s: expected 2 or more seconds, got {self.patience_s}")

    @property
    def wanted(self) -> bool:
        return bool(self.camera_pose) or self.floor is not None


class Worlds:
    """Where the cameras of a run stand: what is known of one is never changed again.

    settled: told the source and its images' size once a floor is found, before the first pose over it.
    """

    def __init__(self, settings: WorldSettings, settled: Callable[[str, tuple[int, int]], None]) -> None:
        self._settled = settled
        self._places = {source: _given(source, pose) for source, pose in settings.camera_pose.items()}

    def of(self, source: str) -> Extrinsics | None:
        return self._places.get(source)

    def settle(self, source: str, place: Extrinsics, size_wh: tuple[int, int]) -> None:
        self._places.setdefault(source, place)
        self._settled(source, size_wh)


class World:
    """A step that says which feet rest on the floor and gives poses the world's axes, of one source."""

    def __init__(
        self,
        settings: WorldSettings,
        contact: bool,
        context: Context,
        worlds: Worlds,
        size_wh: tuple[int, int],
    ) -> None:
        self._worlds, self._context, self._size_wh = worlds, context, size_wh
        self._contact, self._patience_s = contact, settings.patience_s
        self._find = settings.floor is not None
        self._floor: Floor | None = None
        self._feet: dict[str, Feet] = {}
        self._ankles: tuple[int, int] | None = None
        self._place: Extrinsics | None = None
        self._over, self._looked = Over((0.0, -1.0, 0.0), None), 0
        self._move(worlds.of(context.name))

    def finish(self, frame: PoseFrame) -> PoseFrame:
        if self._place is None and self._find:
            frame = self._felt(frame)
            self._seek(frame)
            if not self._contact:
                frame = replace(frame, persons=tuple(replace(pose, contact=None) for pose in frame.persons))
        elif self._contact:
            frame = self._felt(frame)
        return self._moved(frame) if self._place is not None else frame

    # Feet

    def _felt(self, frame: PoseFrame) -> PoseFrame:
        if self._ankles is None:
            joints = get(frame.skeleton).joints
            self._ankles = joints.index("left_ankle"), joints.index("right_ankle")
        before, self._feet = self._feet, {}  # every frame has everybody known, so others are gone
        at_s = frame.header.captured_ns / 1e9
        return replace(frame, persons=tuple(self._feel(pose, before, at_s) for pose in frame.persons))

    def _feel(self, pose: Pose, before: dict[str, Feet], at_s: float) -> Pose:
        if pose.state == "lost":
            return pose
        known = before.get(pose.id) if pose.state != "new" else None
        feet = self._feet[pose.id] = known or Feet()
        contact = feet.update(self._seen(pose), self._over, at_s)
        return pose if contact is None else replace(pose, contact=contact)

    def _seen(self, pose: Pose) -> tuple[Triple | None, Triple | None]:
        if pose.root is None or self._ankles is None:
            return None, None
        seen, (rx, ry, rz) = pose.seen, pose.root.tolist()
        left, right = (
            (x + rx, y + ry, z + rz) if seen[joint] and x == x else None
            for joint in self._ankles
            for x, y, z in (pose.xyz[joint].tolist(),)
        )
        return left, right

    # The floor

    def _seek(self, frame: PoseFrame) -> None:
        name = self._context.name
        if self._floor is None:
            self._floor = Floor(frame.skeleton, self._patience_s)
            self._context.health.state(
                f"{name}.world", "waiting", "for people who stand or walk, feet in sight"
            )
        seen = [pose for pose in frame.persons if pose.root is not None]
        plane = self._floor.look(seen, frame.header.captured_ns / 1e9)
        self._looked += 1
        if plane is not None:
            self._worlds.settle(name, _found(name, plane), self._size_wh)
            self._move(self._worlds.of(name))
        elif self._looked % _EVERY == 0 and (up := self._floor.guess()) is not None:
            x, y, z = up.tolist()
            self._over = Over((x, y, z), None)

    def _move(self, place: Extrinsics | None) -> None:
        """From now on poses are in the frame of `place`."""
        if place is None:
            return
        self._place, self._floor = place, None
        matrix = place.matrix()
        self._matrix, self._pos = matrix.T.astype(np.float32), np.array(place.pos, np.float32)
        x, y, z = matrix[2].tolist()
        self._over = Over((x, y, z), place.pos[2])
        sure = f" (sd {place.height_sd_m:.2f} m, {place.tilt_sd_deg:.1f} degrees)"
        above = f"{place.pos[2]:.2f} m above the floor{sure if place.status == 'estimated' else ''}"
        says = f"{place.status}, {above}; poses are in {place.frame_id}"
        self._context.health.state(f"{self._context.name}.world", "ok", says)
        log.info("%s: the camera's place is %s", self._context.name, says)

    def _moved(self, frame: PoseFrame) -> PoseFrame:
        assert self._place is not None
        persons = tuple(
            replace(
                pose,
                xyz=pose.xyz @ self._matrix,
                root=None if pose.root is None else pose.root @ self._matrix + self._pos,
            )
            for pose in frame.persons
        )
        return replace(frame, persons=persons, frame_id=self._place.frame_id)


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
