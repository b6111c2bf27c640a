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

from collections import deque
from collections.abc import Sequence
from functools import cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.cameras.intrinsics import F64, Camera, CameraSettings, batch_rays
from stream.cameras.registry import ASSUMED_FOV_DEG, Cameras
from stream.errors import ConfigError
from stream.messages import F32, RootStatus
from stream.postprocess.batch import PersonState, PoseBatch
from stream.scene.kalman import ConstantVelocityKalman
from stream.scene.world_frame import WorldSettings
from stream.skeletons import skeleton_named

Point = tuple[float, float, float]
Seen = NDArray[np.bool_]

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


class RootPosition:
    """A step that gives every person seen in a frame a root, and poses the given height.

    A root needs five joints seen in that very frame: predicted and lost persons have none.
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
        cameras: dict[str, CameraSettings] = {}
        world: WorldSettings = WorldSettings()
        contact: bool = True

        def __post_init__(self) -> None:
            if not self.enabled and self.world.wanted:
                raise ConfigError("scene.world needs scene.enabled: expected true, got false")
            if not 5 <= self.fov_deg <= 170:
                raise ConfigError(f"scene.fov_deg: expected 5 to 170 degrees, got {self.fov_deg}")
            if self.height_m is not None and not 0.4 <= self.height_m <= 2.6:
                raise ConfigError(f"scene.height_m: expected 0.4 to 2.6 metres, or null, got {self.height_m}")

    def __init__(self, settings: Settings) -> None:
        self._height_m = settings.height_m
        self._cameras = Cameras(settings.cameras, settings.fov_deg)
        self._people = PersonState(_Person)

    def apply(self, batch: PoseBatch) -> None:
        people: list[tuple[int, _Person, float]] = []
        cameras: list[Camera] = []  # of each row
        for moment in batch.frames:
            at_s = moment.header.captured_ns / 1e9
            people += [(row, person, at_s) for row, person in self._people.get(batch, moment)]
            cameras += [self._cameras.get(moment.header.source, moment.size_wh)] * len(moment.rows)
        if self._height_m is not None:
            for row, person, _ in people:
                batch.xyz[row] *= np.float32(person.scale(batch.xyz[row], self._height_m))
        if people:
            self._place(batch, people, cameras)

    def _place(
        self, batch: PoseBatch, people: list[tuple[int, "_Person", float]], cameras: list[Camera]
    ) -> None:
        xyz, rays = batch.xyz.astype(np.float64), batch_rays(cameras, batch.keypoints[..., :2])
        seen = batch.visible & np.isfinite(xyz.sum(axis=2) + rays.sum(axis=2))
        enough = (seen.sum(axis=1) >= _LEAST_JOINTS).tolist()
        people = [one for one in people if enough[one[0]]]
        if not people:
            return
        rows = np.array([row for row, _, _ in people])
        roots, depth_sds, across_sds = solve_translation(
            xyz.take(rows, axis=0),
            rays.take(rows, axis=0),
            batch.score.take(rows, axis=0),
            seen.take(rows, axis=0),
        )
        # Joints close together say nothing about the distance; NaN is not believed either.
        depths = roots[:, 2]
        believed = (depths >= _LEAST_M) & (depths <= _MOST_M) & (depth_sds < 0.5 * depths)
        for n in np.flatnonzero(believed).tolist():
            row, person, at_s = people[n]
            sds = float(depth_sds[n]), float(across_sds[n])
            batch.root[row] = person.place.update(roots[n].tolist(), *sds, at_s)
            batch.root_status[row] = self._status(cameras[row])

    def _status(self, camera: Camera) -> RootStatus:
        if self._height_m is None:
            return "none"
        return "metric" if camera.is_calibrated else "height"


class RootFilter:
    """Somebody's root over time. Depth is uncertain and changes evenly; across the line of sight a pelvis is
    seen well, and sways and bounces with every step.
    """

    def __init__(self) -> None:
        self._depth, self._right, self._down = (
            ConstantVelocityKalman(),
            ConstantVelocityKalman(),
            ConstantVelocityKalman(),
        )

    def update(self, root: Sequence[float], depth_sd: float, across_sd: float, at_s: float) -> Point:
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
        joints, parents = skeleton_named(skeleton).joints, skeleton_named(skeleton).parents
        self._ends = [joint for joint, name in enumerate(joints) if name.split("_")[-1] in _BONES]
        self._starts = [parents[joint] for joint in self._ends]
        self._sizes: deque[float] = deque(maxlen=_SIZES)
        self.place = RootFilter()

    def scale(self, xyz: F32, height_m: float) -> float:
        """What makes this person's poses, the next being xyz (J, 3), those of somebody `height_m` tall."""
        bones = np.linalg.norm(xyz[self._ends] - xyz[self._starts], axis=1)
        if bones.sum() > _LEAST_BODY_M:  # not so for NaN
            self._sizes.append(float(bones.sum()))
        return _BONES_PER_HEIGHT * height_m / float(np.median(self._sizes)) if self._sizes else 1.0


def solve_translation(xyz: F64, rays: F64, score: F32, seen: Seen) -> tuple[F64, F64, F64]:
    """Translations (P, 3) that put points xyz (P, J, 3), those seen (P, J), onto rays (P, J, 2), weighted by
    score (P, J), and the standard deviations (P,) of their third component and of the two others; NaN where
    the points do not determine it.

    A joint at X seen along u must fulfil root_xy = u root_z + o, o being u X_z - X_xy: a line whose slope is
    root_z. Weighted least squares, repeated with less weight for joints that did not fit. What the solution
    needs is linear in the weights.
    """
    counts = None if seen.all() else seen
    if counts is not None:
        xyz, rays = np.where(seen[..., None], xyz, 0), np.where(seen[..., None], rays, 0)
        score = np.where(seen, score, 0)
    people, joints = score.shape
    terms = np.empty((7, people, joints))  # of every joint: 1, u, o, u.u, u.o
    places, u, o = xyz.transpose(2, 0, 1), terms[1:3], terms[3:5]
    terms[0], u[:] = 1, rays.transpose(2, 0, 1)
    o[:] = u * places[2] - places[:2]
    terms[5:7] = (terms[1:5].reshape(2, 2, people, joints) * u).sum(axis=1)
    xy, z = _guess(places, u, counts)
    for _ in range(_ROUNDS):
        missed = u * z[:, None] + o - xy[..., None]
        missed *= missed
        missed2 = missed[0] + missed[1]  # (P, J) square metres
        spread2 = np.maximum(_FLOOR_M**2, _median(missed2, counts))
        sums = (terms * (score / (1 + missed2 / (4 * spread2[:, None])))).sum(axis=2)
        means = sums / np.maximum(sums[0], 1e-12)
        mean_u, mean_o = means[1:3], means[3:5]
        across = means[5] - (mean_u * mean_u).sum(axis=0)
        across[across <= _ONE_SPOT] = np.nan
        z = ((mean_u * mean_o).sum(axis=0) - means[6]) / across
        xy = mean_o + mean_u * z
    sd = np.sqrt(spread2 / seen.sum(axis=1))
    return np.concatenate([xy, z[None]]).T, sd / np.sqrt(across), sd


def _guess(places: F64, rays: F64, counts: Seen | None) -> tuple[F64, F64]:
    """Roots, across (2, P) and in depth (P,), that a few wild joints cannot spoil: medians over those that
    count, as if all joints (3, P, J) were equally far.

    Two joints are as many times farther apart in space than on the plane at distance 1, rays (2, P, J), as
    they are far away.
    """
    pairs = _pairs(rays.shape[2])
    ways = np.concatenate([places[:2], rays]) @ pairs  # (4, P, pairs)
    ways *= ways
    apart2, on_plane2 = ways[0] + ways[1], ways[2] + ways[3]
    both = None if counts is None else counts @ np.abs(pairs) == 2
    long = apart2 >= _median(apart2, both)[:, None]  # the others say little
    long = long if both is None else long & both
    depth = np.sqrt(_median(apart2 / np.maximum(on_plane2, 1e-12), long))
    x, y = rays * depth[:, None] - places[:2]
    return np.array([_median(x, counts), _median(y, counts)]), depth


@cache
def _pairs(joints: int) -> F64:
    """(joints, pairs) that turns values (..., joints) into the differences of every two of them."""
    one = np.eye(joints)
    first, second = np.triu_indices(joints, 1)
    return one[:, first] - one[:, second]


def _median(values: F64, counts: Seen | None) -> F64:
    """The upper median (P,) of those values (P, N) that count, None for all."""
    ordered = values.copy() if counts is None else np.where(counts, values, np.inf)
    ordered.sort()
    if counts is None:
        return ordered[:, values.shape[1] // 2]
    found: F64 = ordered[np.arange(len(values)), counts.sum(axis=1) // 2]
    return found
