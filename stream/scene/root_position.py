"""Where people are: the pelvis in the camera's frame, in metres.

One image cannot tell a small person nearby from a large one far away. The position follows from the
size of the lifted pose, the camera's intrinsics and the pixels of the joints; `root_status` says how
far its scale can be trusted:

    metric   the person's height and the camera's calibration are given
    height   the person's height is given; the camera's field of view is an assumption
    none     no height is given: the pose has the size of an average adult, and a person 10 % taller
             stands 10 % farther away than the root says

A wrong focal length makes the distance wrong in proportion, but not where a person appears.
"""

from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from stream.cameras.intrinsics import Camera, batch_rays
from stream.cameras.registry import ASSUMED_FOV_DEG, Cameras
from stream.errors import ConfigError
from stream.messages import F32, RootStatus
from stream.postprocess.batch import PersonState, PoseBatch
from stream.scene.kalman import ConstantVelocityKalman
from stream.scene.translation import solve_translation
from stream.scene.world_frame import WorldFrame
from stream.skeletons import skeleton_named

Point = tuple[float, float, float]

_MIN_JOINTS = 5
_MIN_DISTANCE_M, _MAX_DISTANCE_M = 0.2, 100.0
_MAX_DEPTH_SD = 0.5  # of the distance; a root less certain than that is refused
_DEPTH_ACCEL_NOISE, _LATERAL_ACCEL_NOISE = 0.3, 1.0  # change of speed within a second, in m/s
_MIN_DEPTH_SD = 0.02  # relative: the errors of successive frames are alike

# The bones whose lengths give a person's size, by the joint they end in: legs, trunk, arms. They do not
# depend on how a detector places heads, hips and shoulders.
_SIZE_BONES = ("knee", "ankle", "spine", "thorax", "elbow", "wrist")
_BONES_PER_HEIGHT = 1.90  # their sum over the body height: 3.25 m in an adult of 1.71 m
_MIN_BONES_M = 0.3  # a pose with a smaller sum is no body
_SIZE_POSES = 151  # poses over which a person's size is a median


class RootPosition:
    """A post-processor that finds the root of each person and scales poses to the given body height.

    A root needs five joints detected in that very frame: predicted and lost people have none. cameras: those
    of the settings, if other components share them.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Section `scene` of a config: where people stand.

        enabled: Estimate the position of each person's pelvis in metres (`root`).

        fov_deg: Field of view in degrees along the longer image side, of cameras without intrinsics in
        `cameras`. Webcams have 50 to 80.

        height_m: Body height in metres of the people in view; null assumes average adults. Distances scale
        with it.

        cameras: Intrinsics by source name. `poselift calibrate` measures them.

        world: A world frame with z up in place of the camera's frame.

        contact: Publish which feet rest on the floor.
        """

        enabled: bool = True
        fov_deg: float = ASSUMED_FOV_DEG
        height_m: float | None = None
        cameras: dict[str, Camera.Settings] = {}
        world: WorldFrame.Settings = WorldFrame.Settings()
        contact: bool = True

        def __post_init__(self) -> None:
            if not self.enabled and self.world.enabled:
                raise ConfigError("scene.world needs scene.enabled: expected true, got false")
            if not 5 <= self.fov_deg <= 170:
                raise ConfigError(f"scene.fov_deg: expected 5 to 170 degrees, got {self.fov_deg}")
            if self.height_m is not None and not 0.4 <= self.height_m <= 2.6:
                raise ConfigError(f"scene.height_m: expected 0.4 to 2.6 metres, or null, got {self.height_m}")

    def __init__(self, settings: Settings, cameras: Cameras | None = None) -> None:
        self._height_m = settings.height_m
        self._cameras = cameras or Cameras(settings.cameras, settings.fov_deg)
        self._people = PersonState(_Person)

    def apply(self, batch: PoseBatch) -> None:
        """Set root and root_status of the batch; scale xyz when a body height is given."""
        people: list[tuple[int, _Person, float]] = []  # row, state, time in seconds
        cameras: list[Camera] = []  # of each row
        for frame in batch.frames:
            at_s = frame.header.captured_ns / 1e9
            people += [(row, person, at_s) for row, person in self._people.get(batch, frame)]
            cameras += [self._cameras.get(frame.header.source, frame.size_wh)] * len(frame.rows)
        if self._height_m is not None:
            for row, person, _ in people:
                batch.xyz[row] *= np.float32(person.scale(batch.xyz[row], self._height_m))
        if people:
            self._set_roots(batch, people, cameras)

    def _set_roots(
        self, batch: PoseBatch, people: list[tuple[int, "_Person", float]], cameras: list[Camera]
    ) -> None:
        xyz, rays = batch.xyz.astype(np.float64), batch_rays(cameras, batch.keypoints[..., :2])
        visible = batch.visible & np.isfinite(xyz.sum(axis=2) + rays.sum(axis=2))
        enough = (visible.sum(axis=1) >= _MIN_JOINTS).tolist()
        people = [(row, person, at_s) for row, person, at_s in people if enough[row]]
        if not people:
            return
        rows = np.array([row for row, _, _ in people])
        roots, depth_sds, lateral_sds = solve_translation(
            xyz.take(rows, axis=0),
            rays.take(rows, axis=0),
            batch.score.take(rows, axis=0),
            visible.take(rows, axis=0),
        )
        # Joints close together in the image do not determine the distance; NaN fails the tests too.
        depths = roots[:, 2]
        credible = (
            (depths >= _MIN_DISTANCE_M) & (depths <= _MAX_DISTANCE_M) & (depth_sds < _MAX_DEPTH_SD * depths)
        )
        for n in np.flatnonzero(credible).tolist():
            row, person, at_s = people[n]
            sds = float(depth_sds[n]), float(lateral_sds[n])
            batch.root[row] = person.root.update(roots[n].tolist(), *sds, at_s)
            batch.root_status[row] = self._status(cameras[row])

    def _status(self, camera: Camera) -> RootStatus:
        if self._height_m is None:
            return "none"
        return "metric" if camera.is_calibrated else "height"


class RootFilter:
    """One person's root over time.

    Depth is uncertain and changes evenly; across the line of sight a pelvis is measured well, and it sways
    and bounces with every step.
    """

    def __init__(self) -> None:
        self._depth = ConstantVelocityKalman()
        self._right = ConstantVelocityKalman()
        self._down = ConstantVelocityKalman()

    def update(self, root: Sequence[float], depth_sd: float, lateral_sd: float, at_s: float) -> Point:
        """The filtered root, after a measured `root` (3,) metres with these standard deviations."""
        x, y, z = root
        depth = self._depth.update(z, max(depth_sd, _MIN_DEPTH_SD * z), at_s, _DEPTH_ACCEL_NOISE)
        depth = max(_MIN_DISTANCE_M, depth)
        # As directions, because a wrong distance does not change where a person appears.
        sd, accel_noise = lateral_sd / z, _LATERAL_ACCEL_NOISE / z
        right = self._right.update(x / z, sd, at_s, accel_noise)
        down = self._down.update(y / z, sd, at_s, accel_noise)
        return right * depth, down * depth, depth


class _Person:
    """The state of one person: the sizes of recent poses, and the filter of the root."""

    def __init__(self, skeleton: str) -> None:
        joints, parents = skeleton_named(skeleton).joints, skeleton_named(skeleton).parents
        self._ends = [joint for joint, name in enumerate(joints) if name.split("_")[-1] in _SIZE_BONES]
        self._starts = [parents[joint] for joint in self._ends]
        self._sizes_m: deque[float] = deque(maxlen=_SIZE_POSES)
        self.root = RootFilter()

    def scale(self, xyz: F32, height_m: float) -> float:
        """The factor that gives this person a body height of `height_m`, after their next pose xyz (J, 3)."""
        size_m = float(np.linalg.norm(xyz[self._ends] - xyz[self._starts], axis=1).sum())
        if size_m > _MIN_BONES_M:  # false for NaN
            self._sizes_m.append(size_m)
        return _BONES_PER_HEIGHT * height_m / float(np.median(self._sizes_m)) if self._sizes_m else 1.0
