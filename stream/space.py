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
from functools import cache

import msgspec
import numpy as np

from stream.batch import Batch
from stream.camera import F64, Camera, CameraSettings, assumed, calibrated, rays_of
from stream.errors import ConfigError
from stream.finish import PerPerson, PerSource
from stream.kalman import Kalman
from stream.messages import F32, RootStatus
from stream.skeletons import get
from stream.world import WorldSettings

Point = tuple[float, float, float]

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

    def __init__(self, settings: Settings) -> None:
        self._height_m = settings.height_m
        self._cameras = PerSource(lambda source, size_wh: lens(settings, source, size_wh))
        self._people = PerPerson(_Person)

    def finish(self, batch: Batch) -> None:
        people: list[tuple[int, _Person, float]] = []
        cameras: list[Camera] = []  # of each row
        for moment in batch.moments:
            at_s = moment.header.captured_ns / 1e9
            people += [(row, person, at_s) for row, person in self._people.of(batch, moment)]
            cameras += [self._cameras.of(moment)] * len(moment.rows)
        if self._height_m is not None:
            for row, person, _ in people:
                batch.xyz[row] *= np.float32(person.scale(batch.xyz[row], self._height_m))
        if people:
            self._place(batch, people, cameras)

    def _place(self, batch: Batch, people: list[tuple[int, "_Person", float]], cameras: list[Camera]) -> None:
        xyz, rays = batch.xyz.astype(np.float64), rays_of(cameras, batch.keypoints[..., :2])
        seen = batch.seen & np.isfinite(xyz.sum(axis=2) + rays.sum(axis=2))
        counts = np.count_nonzero(seen, axis=1).tolist()
        for row, person, at_s in people:
            if counts[row] < _LEAST_JOINTS:
                continue
            which = slice(None) if counts[row] == seen.shape[1] else seen[row]
            found = locate(xyz[row][which], rays[row][which], batch.score[row][which])
            if found is not None and _believable(*found):
                batch.root[row] = person.place.update(*found, at_s)
                batch.root_status[row] = self._status(cameras[row])

    def _status(self, camera: Camera) -> RootStatus:
        if self._height_m is None:
            return "none"
        return "metric" if camera.is_calibrated else "height"


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

    def update(self, root: Point, depth_sd: float, across_sd: float, at_s: float) -> Point:
        """The steadied root, having found `root` with these standard deviations."""
        x, y, z = root
        depth = max(_LEAST_M, self._depth.update(z, max(depth_sd, _LEAST_SD * z), at_s, _UNREST))
        # As directions, because a wrong distance changes nothing about where they appear.
        sd, unrest = across_sd / z, _SWAY / z
        right = self._right.update(x / z, sd, at_s, unrest)
        down = self._down.update(y / z, sd, at_s, unrest)
        return right * depth, down * depth, depth


class _Person:
    """What is remembered of one person: sizes of their poses, and how far away they are."""

    def __init__(self, skeleton: str) -> None:
        joints, parents = get(skeleton).joints, get(skeleton).parents
        self._ends = [joint for joint, name in enumerate(joints) if name.split("_")[-1] in _BONES]
        self._starts = [parents[joint] for joint in self._ends]
        self._sizes: deque[float] = deque(maxlen=_SIZES)
        self.place = Place()

    def scale(self, xyz: F32, height_m: float) -> float:
        """What makes this person's poses, the next being xyz (J, 3), those of somebody `height_m` tall."""
        bones = np.linalg.norm(xyz[self._ends] - xyz[self._starts], axis=1)
        if bones.sum() > _LEAST_BODY_M:  # not so for NaN
            self._sizes.append(float(bones.sum()))
        return _BONES_PER_HEIGHT * height_m / float(np.median(self._sizes)) if self._sizes else 1.0


def _believable(root: Point, depth_sd: float, _: float) -> bool:
    # Joints close together say nothing about the distance.
    return _LEAST_M <= root[2] <= _MOST_M and depth_sd < 0.5 * root[2]


def locate(xyz: F64, rays: F64, score: F32) -> tuple[Point, float, float] | None:
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
    return (x, y, z), spread * math.sqrt(share / across), spread / math.sqrt(len(xyz))


def _guess(places: F64, rays: F64) -> tuple[float, float, float]:
    """A root that a few wild joints cannot spoil: medians, as if all joints (3, J) were equally far.

    Two joints are as many times farther apart in space than on the plane at distance 1, rays (2, J), as they
    are far away.
    """
    ways = np.concatenate([places[:2], rays]) @ _pairs(rays.shape[1])  # (4, pairs)
    ways *= ways
    apart2, on_plane2 = ways[0] + ways[1], ways[2] + ways[3]
    long = apart2 >= _median(apart2)  # the others say little
    depth = math.sqrt(_median(apart2[long] / np.maximum(on_plane2[long], 1e-12)))
    across = rays * depth - places[:2]
    across.sort()
    x, y = across[:, len(across[0]) // 2].tolist()
    return x, y, depth


@cache
def _pairs(joints: int) -> F64:
    """(joints, pairs) that turns values (..., joints) into the differences of every two of them."""
    one = np.eye(joints)
    first, second = np.triu_indices(joints, 1)
    return one[:, first] - one[:, second]


def _median(values: F64) -> float:
    """The upper median; `np.median` takes several times longer for so few."""
    ordered = values.copy()
    ordered.sort()
    return float(ordered[len(ordered) // 2])
