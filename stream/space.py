"""Where people stand: the pelvis in the camera's frame, in metres.

One image does not tell a small person nearby from a large one far away. The position follows from the
size of the lifted pose, the camera's intrinsics and where the joints are seen; `root_status` says how
far its scale can be trusted:

    metric   the person's height and the camera's calibration are given
    height   the person's height is given; the camera's field of view is an assumption
    none     no height is given: the pose has the size of an average adult, and a person 10 % taller
             stands 10 % farther away than it says

A wrong focal length makes the distance wrong in proportion, but not where a person appears.
"""

import math
from collections import deque
from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.camera import F64, Camera, CameraSettings, assumed, calibrated
from stream.errors import ConfigError
from stream.kalman import Kalman
from stream.messages import F32, Pose, PoseFrame, RootStatus
from stream.skeletons import get
from stream.world import WorldSettings

_LEAST_JOINTS = 5
_LEAST_M, _MOST_M = 0.2, 100.0  # believable distances
_ROUNDS = 2  # of solving, each with less weight for joints far off the solution before
_FLOOR_M = 0.02  # a lifted pose is never more exact than that
_ONE_SPOT = 1e-12  # rays' variance; joints less far apart are seen in one spot
_UNREST, _SWAY = 0.3, 1.0  # by how many m/s a speed strays within a second, in depth and across
_LEAST_SD = 0.02  # of a distance, relative: errors of neighbouring frames are alike

# The bones that say how tall someone is, by the joint they end in: legs, trunk, arms. They do not depend on
# how a detector draws heads, hips and shoulders.
_BONES = ("knee", "ankle", "spine", "thorax", "elbow", "wrist")
_BONES_PER_HEIGHT = 1.90  # their sum, left and right, against the body's height: 3.25 m in an adult of 1.71 m
_LEAST_BODY_M = 0.3  # bones that are shorter together are nobody's
_SIZES = 151  # poses over which a person's size is a median


class Space:
    """A step that gives every person seen in a frame a root, and poses the given height.

    A root needs five joints seen in that very frame: predicted and lost persons have none.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """enabled: say where people stand (`root`). fov_deg: the angle seen along an image's longer side, for
        cameras that are not calibrated; webcams have 50 to 80. cameras: intrinsics by source, see
        `poselift calibrate`. height_m: how tall the people are; null = like average adults. world: axes with
        z up instead of the camera's, see `stream.world`. contact: say which feet rest on the floor.
        """

        enabled: bool = True
        fov_deg: float = 61.0  # what the lifters assume too
        height_m: float | None = None
        cameras: dict[str, CameraSettings] = {}
        world: WorldSettings = WorldSettings()
        contact: bool = True

        def __post_init__(self) -> None:
            if not self.enabled and self.world.wanted:
                raise ConfigError("space.world needs space.enabled: expected true, got false")
            if not 5 <= self.fov_deg <= 170:
                raise ConfigError(f"space.fov_deg: expected 5 to 170 degrees, got {self.fov_deg}")
            if self.height_m is not None and not 0.4 <= self.height_m <= 2.6:
                raise ConfigError(f"space.height_m: expected 0.4 to 2.6 metres, or null, got {self.height_m}")

    def __init__(self, settings: Settings, source: str, size_wh: tuple[int, int]) -> None:
        self._camera = lens(settings, source, size_wh)
        self._height_m = settings.height_m
        self._status: RootStatus = "none"
        if settings.height_m is not None:
            self._status = "metric" if self._camera.is_calibrated else "height"
        self._people: dict[str, _Person] = {}

    def finish(self, frame: PoseFrame) -> PoseFrame:
        # Everybody known is in every frame until lost, so whoever is not in this one is gone.
        people: dict[str, _Person] = {}
        for pose in frame.persons:
            known = self._people.get(pose.id) if pose.state != "new" else None
            if pose.state != "lost":
                people[pose.id] = known or _Person(frame.skeleton)
        self._people = people
        now_s = frame.header.captured_ns / 1e9
        return replace(frame, persons=tuple(self._place(pose, now_s) for pose in frame.persons))

    def _place(self, pose: Pose, now_s: float) -> Pose:
        if pose.state == "lost":
            return pose
        person = self._people[pose.id]
        if self._height_m is not None:
            pose = replace(pose, xyz=pose.xyz * np.float32(person.scale(pose, self._height_m)))
        found = _root(pose, self._camera)
        if found is None:
            return pose
        return replace(pose, root=person.place.update(*found, now_s), root_status=self._status)


def lens(settings: Space.Settings, source: str, size_wh: tuple[int, int]) -> Camera:
    """The camera called `source`, as far as it is known, making images of this size."""
    intrinsics = settings.cameras.get(source)
    return calibrated(intrinsics, size_wh) if intrinsics else assumed(settings.fov_deg, size_wh)


class Place:
    """Somebody's root over time. Depth is uncertain and changes evenly; across the line of sight a pelvis is
    seen well, and sways and bounces with every step.
    """

    def __init__(self) -> None:
        self._depth, self._right, self._down = Kalman(), Kalman(), Kalman()

    def update(self, root: F64, depth_sd: float, across_sd: float, at_s: float) -> F32:
        """The steadied root (3,) float32, having found `root` with these standard deviations."""
        x, y, z = root.tolist()
        depth = max(_LEAST_M, self._depth.update(z, max(depth_sd, _LEAST_SD * z), at_s, _UNREST))
        # As directions, because a wrong distance changes nothing about where they appear.
        sd, unrest = across_sd / z, _SWAY / z
        right = self._right.update(x / z, sd, at_s, unrest)
        down = self._down.update(y / z, sd, at_s, unrest)
        return np.array([right * depth, down * depth, depth], np.float32)


class _Person:
    """What is remembered of one person: sizes of their poses, and how far away they are."""

    def __init__(self, skeleton: str) -> None:
        joints, parents = get(skeleton).joints, get(skeleton).parents
        self._ends = [joint for joint, name in enumerate(joints) if name.split("_")[-1] in _BONES]
        self._starts = [parents[joint] for joint in self._ends]
        self._sizes: deque[float] = deque(maxlen=_SIZES)
        self.place = Place()

    def scale(self, pose: Pose, height_m: float) -> float:
        """What makes this person's poses those of somebody `height_m` tall."""
        bones = np.linalg.norm(pose.xyz[self._ends] - pose.xyz[self._starts], axis=1)
        if bones.sum() > _LEAST_BODY_M:  # not so for NaN
            self._sizes.append(float(bones.sum()))
        return _BONES_PER_HEIGHT * height_m / float(np.median(self._sizes)) if self._sizes else 1.0


def _root(pose: Pose, camera: Camera) -> tuple[F64, float, float] | None:
    """The root (3,) at which `pose` appears where its joints were seen, and how uncertain it is."""
    if pose.kp2d is None:
        return None
    xyz, keypoints, score = pose.xyz, pose.kp2d, pose.score
    seen = pose.seen & np.isfinite(xyz).all(axis=1) & np.isfinite(keypoints).all(axis=1)
    count = np.count_nonzero(seen)
    if count < _LEAST_JOINTS:
        return None
    if count < len(seen):
        xyz, keypoints, score = xyz[seen], keypoints[seen], score[seen]
    found = locate(xyz.astype(np.float64), camera.rays(keypoints[:, :2]), score)
    if found is None:
        return None
    root, depth_sd, _ = found
    # Joints close together say nothing about the distance.
    believable = _LEAST_M <= root[2] <= _MOST_M and depth_sd < 0.5 * root[2]
    return found if believable else None


def locate(xyz: F64, rays: F64, score: F32) -> tuple[F64, float, float] | None:
    """Translation (3,) that puts points xyz (J, 3) onto rays (J, 2), weighted by score (J,), and the standard
    deviations of its third component and of the two others; None when the points do not determine it.

    A joint at X seen along u must fulfil root_xy = u root_z + o, o being u X_z - X_xy: a line whose slope is
    root_z. Weighted least squares, repeated with less weight for joints that did not fit. What the solution
    needs is linear in the weights, and what it missed by, squared, is linear in the same terms.
    """
    rays, places = rays.T, xyz.T
    terms = np.empty((8, len(xyz)))  # of every joint: 1, u, o, u.u, u.o, o.o
    terms[0] = 1
    terms[1:3] = rays
    terms[3:5] = rays * places[2] - places[:2]
    terms[5:7] = (terms[1:5].reshape(2, 2, -1) * rays).sum(axis=1)
    terms[7] = (terms[3:5] * terms[3:5]).sum(axis=0)
    x, y, z = _guess(places, rays)
    for _ in range(_ROUNDS):
        factors = np.array([x * x + y * y, -2 * x * z, -2 * y * z, -2 * x, -2 * y, z * z, 2 * z, 1.0])
        missed2 = np.abs(factors @ terms)  # (J,) square metres
        spread2 = max(_FLOOR_M**2, _median(missed2))
        weight = score / (1 + missed2 / (4 * spread2))
        total, ux, uy, ox, oy, uu, uo, _ = (terms @ weight).tolist()
        if not total > 0:
            return None
        across = uu - (ux * ux + uy * uy) / total
        if not across > _ONE_SPOT * total:
            return None
        z = ((ux * ox + uy * oy) / total - uo) / across
        x, y = (ox + ux * z) / total, (oy + uy * z) / total
    share, spread = total / len(xyz), math.sqrt(spread2)
    return np.array([x, y, z]), spread * math.sqrt(share / across), spread / math.sqrt(len(xyz))


def _guess(places: F64, rays: F64) -> tuple[float, float, float]:
    """A root that a few wild joints cannot spoil: medians, as if all joints (3, J) were equally far.

    Two joints are as many times farther apart in space than on the plane at distance 1, rays (2, J), as they
    are far away.
    """
    first, second = _pairs(rays.shape[1])
    points = np.concatenate([places[:2], rays])  # (4, J)
    ways = points.take(first, axis=1) - points.take(second, axis=1)
    ways *= ways
    apart2, on_plane2 = ways[0] + ways[1], ways[2] + ways[3]
    long = apart2 >= _median(apart2)  # the others say little
    depth = math.sqrt(_median(apart2[long] / np.maximum(on_plane2[long], 1e-12)))
    across = np.sort(rays * depth - places[:2], axis=1)
    x, y = across[:, len(across[0]) // 2].tolist()
    return x, y, depth


@cache
def _pairs(joints: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(joints, 1)


def _median(values: F64) -> float:
    """The upper median; `np.median` takes several times longer for so few."""
    return float(np.sort(values)[len(values) // 2])
