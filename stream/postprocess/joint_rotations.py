"""Joint rotations: local quaternions of the humanoid rig (`stream.rig`) from 17 positions, in closed form.

Positions fix the direction of every bone, but not how it is twisted about its own axis:

    Hips, Chest   the hip line and the shoulder line give the twist
    Head          the plane through neck, face and top of the head gives it
    upper arm,    the elbow and the knee are hinges: the plane of the bent limb gives the twist of the upper
    upper leg     bone, and the lower bone then turns about the hinge alone
    all others    no joint shows it; they keep the parent's twist (smallest rotation from the rest pose)

A nearly straight limb spans no plane. Between 12 and 30 degrees of bend the plane's twist is blended in;
below, the last twist is held and drifts back to the parent's. A knee that seems to bend forwards is noise and
is ignored. No twist turns faster than `MAX_TWIST_DEG_S`: bone directions are exact, only the twist lags.

The step runs last, after smoothing, bone lengths and the change into a world frame.
"""

from enum import IntEnum

import numpy as np

from stream.messages import F32, U8, Mask, RigInfo
from stream.postprocess.batch import BatchFrame, BatchRotations, PersonState, PoseBatch
from stream.rig import HUMANOID
from stream.rotations import F64, cross, quaternions, shortest_arcs, turns

STRAIGHT_DEG, BENT_DEG = (
    12.0,
    30.0,
)  # bend below which the plane of a limb says nothing, above which it decides
MAX_TWIST_DEG_S = 400.0
TWIST_TIME_S = 0.05  # time constant with which a twist follows the plane of the bent limb
DRIFT_PER_S = 2.5  # how fast a held twist returns to the parent's, 1/s
MAX_KNEE_TURN_DEG = 100.0  # between a knee's hinge and the hip line; beyond it the knee would bend forwards
MAX_HINGE_JUMP_DEG = (
    120.0  # a barely bent elbow whose plane turns by more than this has flipped through straight
)
BARELY_BENT_DEG = 60.0
MIN_LENGTH_M = 1e-4
MAX_GAP_S = 1.0  # after a longer gap rotations start anew
MEAN_SAMPLES = 500  # rest offsets are means over about this many frames

_BONE = HUMANOID.index
_HIPS, _SPINE, _CHEST = (_BONE[name] for name in ("Hips", "Spine", "Chest"))
# Bones whose twist has a hinge, with the hinge's axis at rest: Head, then arms and legs.
_TWISTED = [
    _BONE[name] for name in ("Head", "LeftUpperArm", "RightUpperArm", "LeftUpperLeg", "RightUpperLeg")
]
_HINGES = np.array([(1, 0, 0), (0, -1, 0), (0, 1, 0), (1, 0, 0), (1, 0, 0)], np.float64)
_ON_CHEST = [_BONE[name] for name in ("Neck", "LeftShoulder", "RightShoulder")]
_LOWER = [_BONE[name] for name in ("LeftLowerArm", "RightLowerArm", "LeftLowerLeg", "RightLowerLeg")]
_IS_LEG = np.array([False, False, False, True, True])
_REST = HUMANOID.directions
_PARENTS = np.array(HUMANOID.parents)
_POINTING = np.array([bone for bone, target in enumerate(HUMANOID.targets) if target >= 0])
_STARTS = np.array([HUMANOID.heads[bone] for bone in _POINTING])
_ENDS = np.array([HUMANOID.targets[bone] for bone in _POINTING])
_OFFSETS = np.array([bone for bone in range(len(HUMANOID.bones)) if HUMANOID.parents[bone] >= 0])

RIG_INFO = RigInfo(HUMANOID.bones, HUMANOID.parents, HUMANOID.heads)  # as published in `meta`


class Twist(IntEnum):
    """How the rotation of a bone about its own axis is known."""

    ASSUMED = 0  # no joint shows it: as the parent's
    MEASURED = 1  # from the plane of a bent limb, the hip line, the shoulder line or the face
    HELD = 2  # the limb is straight, or a joint is missing: the last one is held


class JointRotations:
    """A step that gives every person who is not lost the local rotations of the rig's bones."""

    def __init__(self) -> None:
        self._people = PersonState(_PersonRig)

    def apply(self, batch: PoseBatch) -> None:
        """Fill `batch.rotations`."""
        bones, people = len(HUMANOID.bones), len(batch.ids)
        quat = np.full((people, bones, 4), np.nan, np.float32)
        rest = np.full((people, bones, 3), np.nan, np.float32)
        twist = np.zeros((people, bones), np.uint8)
        batch.rotations = BatchRotations(quat, rest, twist)
        for frames in _one_per_source(batch.frames):
            rows: list[int] = []
            rigs: list[_PersonRig] = []
            times_ns: list[int] = []
            for frame in frames:
                for row, rig in self._people.get(batch, frame):
                    rows.append(row)
                    rigs.append(rig)
                    times_ns.append(frame.header.captured_ns)
            if rows:
                quat[rows], rest[rows], twist[rows] = _update(rigs, batch.xyz[rows], times_ns)


class _PersonRig:
    """Rotations of one person from frame to frame."""

    __slots__ = ("captured_ns", "local", "quat", "rest", "samples")

    def __init__(self, skeleton: str) -> None:
        bones = len(HUMANOID.bones)
        self.local: F64 = np.full((bones, 3, 3), np.nan)
        self.quat: F64 = np.zeros((bones, 4))
        self.rest: F64 = np.zeros((bones, 3))
        self.samples = 0
        self.captured_ns = 0


def _one_per_source(frames: list[BatchFrame]) -> list[list[BatchFrame]]:
    """The frames in rounds: the first of every source, the second of every source, and so on."""
    rounds: list[list[BatchFrame]] = []
    count: dict[str, int] = {}
    for frame in frames:
        number = count[frame.header.source] = count.get(frame.header.source, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(frame)
    return rounds


def _update(rigs: list[_PersonRig], xyz: F32, times_ns: list[int]) -> tuple[F32, F32, U8]:
    """Next rotations of P people from xyz (P, 17, 3) m: quaternions (P, B, 4), rest offsets, twists."""
    steps_s = np.array([(now - rig.captured_ns) / 1e9 for rig, now in zip(rigs, times_ns, strict=True)])
    before = np.stack([rig.local for rig in rigs])
    before[(steps_s <= 0) | (steps_s > MAX_GAP_S)] = np.nan
    local, world, twist = solve(xyz.astype(np.float64), before, steps_s)
    quats = quaternions(local)
    last = np.stack([rig.quat for rig in rigs])
    quats *= np.where(np.einsum("pbi,pbi->pb", quats, last) < 0, -1.0, 1.0)[..., None]
    offsets = rest_offsets(xyz, world)
    for n, rig in enumerate(rigs):
        rig.local, rig.quat, rig.captured_ns = local[n], quats[n], times_ns[n]
        whole = np.isfinite(offsets[n]).all(axis=1)
        rig.samples = min(rig.samples + 1, MEAN_SAMPLES)
        rig.rest[whole] += (offsets[n][whole] - rig.rest[whole]) / rig.samples
    rest = np.stack([rig.rest for rig in rigs])
    return quats.astype(np.float32), rest.astype(np.float32), twist


def solve(xyz: F64, before: F64, steps_s: F64) -> tuple[F64, F64, U8]:
    """Rotations (P, B, 3, 3) of joints xyz (P, 17, 3) m, local and into the frame's axes, and twists (P, B).

    before: the rotations (P, B, 3, 3) `steps_s` (P,) seconds ago, NaN where there are none.
    """
    solver = _Solver(xyz, before)
    solver.place_hips(xyz[:, 4] - xyz[:, 1], xyz[:, 8] - xyz[:, 0])
    solver.place_along([_SPINE])
    solver.place_chest(xyz[:, 8] - xyz[:, 7], xyz[:, 11] - xyz[:, 14])
    solver.place_along(_ON_CHEST)
    solver.place_twisted(xyz, steps_s)
    solver.place_along(_LOWER)
    return solver.local, solver.world, solver.twist


class _Solver:
    """Rotations of P persons, from the hips outwards: each bone needs its parent's."""

    def __init__(self, xyz: F64, before: F64) -> None:
        people, bones = len(xyz), len(HUMANOID.bones)
        self.local = np.empty((people, bones, 3, 3))
        self.local[:] = np.eye(3)
        self.world = self.local.copy()
        self.twist: U8 = np.zeros((people, bones), np.uint8)
        self._before = before
        self._directions, self._known = _directions(xyz)

    def place_hips(self, x: F64, y: F64) -> None:
        """x axis along the hip line x (P, 3), y axis towards the thorax."""
        turned, ok = _frame(x, y, first=0)
        self._set([_HIPS], turned[:, None], ok[:, None])
        self.twist[:, _HIPS] = np.where(ok, Twist.MEASURED, Twist.HELD)

    def place_chest(self, y: F64, x: F64) -> None:
        """y axis along the upper spine y (P, 3), x axis towards the left shoulder."""
        turned, ok = _frame(x, y, first=1)
        turned = np.swapaxes(self.world[:, _SPINE], -1, -2) @ turned
        self._set([_CHEST], turned[:, None], ok[:, None])
        self.twist[:, _CHEST] = np.where(ok, Twist.MEASURED, Twist.HELD)

    def place_along(self, bones: list[int]) -> None:
        """Turn bones into their directions by the smallest rotation, so that they twist with their
        parents.
        """
        direction = self._local(bones, self._directions[:, bones])
        known = self._known[:, bones]
        self._set(bones, shortest_arcs(np.broadcast_to(_REST[bones], direction.shape), direction), known)
        if bones is _LOWER:
            self.twist[:, bones] = np.where(known, self.twist[:, _PARENTS[bones]], Twist.HELD)

    def place_twisted(self, xyz: F64, steps_s: F64) -> None:
        """Head, upper arms and upper legs: their directions, and the twist that face, elbow or knee shows."""
        hinge, bend_deg = _hinges(xyz)
        direction = self._local(_TWISTED, self._directions[:, _TWISTED])
        hinge = self._local(_TWISTED, hinge)
        turned, measured = _twisted(direction, hinge, bend_deg, self._before[:, _TWISTED], steps_s[:, None])
        known = self._known[:, _TWISTED]
        self._set(_TWISTED, turned, known)
        self.twist[:, _TWISTED] = np.where(measured & known, Twist.MEASURED, Twist.HELD)

    def _local(self, bones: list[int], vectors: F64) -> F64:
        """Vectors (P, N, 3) of the frame's axes in the axes of the bones' parents."""
        vectors = vectors[..., None, :] @ self.world[:, _PARENTS[bones]]
        return vectors[..., 0, :]

    def _set(self, bones: list[int], turned: F64, known: Mask) -> None:
        """Set local rotations (P, N, 3, 3); where joints are missing (P, N), the last rotation is held."""
        if not known.all():
            before = self._before[:, bones]
            held = np.where(np.isfinite(before[..., :1, :1]), before, np.eye(3))
            turned = np.where(known[..., None, None], turned, held)
            self.twist[:, bones] = np.where(known, self.twist[:, bones], Twist.HELD)
        self.local[:, bones] = turned
        if bones[0] != _HIPS:
            turned = self.world[:, _PARENTS[bones]] @ turned
        self.world[:, bones] = turned


def rest_offsets(xyz: F32, world: F64) -> F64:
    """Where each bone's head lies (P, B, 3) m from its parent's head, in the parent's rest axes.

    world (P, B, 3, 3): rotations from rest axes to those of xyz (P, 17, 3) m.
    """
    heads = np.asarray(xyz, np.float64)[:, list(HUMANOID.heads)]
    offsets = np.zeros((len(xyz), len(HUMANOID.bones), 3))
    parents = _PARENTS[_OFFSETS]
    offsets[:, _OFFSETS] = np.einsum(
        "pbji,pbj->pbi", world[:, parents], heads[:, _OFFSETS] - heads[:, parents]
    )
    return offsets


def _twisted(direction: F64, hinge: F64, bend_deg: F64, last: F64, step_s: F64) -> tuple[F64, Mask]:
    """Local rotations (P, 5, 3, 3) of head, upper arms and legs, and whether their twist is measured (P, 5).

    direction, hinge (P, 5, 3): in the parent's axes; last (P, 5, 3, 3): the rotations step_s (P, 1) ago.
    """
    rest = _REST[_TWISTED]
    arc = shortest_arcs(np.broadcast_to(rest, direction.shape), direction)
    fresh = ~np.isfinite(last[..., 0, 0])
    last = np.where(fresh[..., None, None], arc, last)
    # The last rotation, carried into the new direction without any twist about it.
    carried = shortest_arcs(_apply(last, rest), direction) @ last
    start = _apply(carried, _HINGES)
    to_plane = _angle_about(direction, start, hinge)
    to_arc = _angle_about(direction, start, _apply(arc, _HINGES))

    weight = np.clip((bend_deg - STRAIGHT_DEG) / (BENT_DEG - STRAIGHT_DEG), 0.0, 1.0)
    weight = weight * weight * (3 - 2 * weight)
    turn_deg = np.degrees(np.abs(_wrapped(to_plane - to_arc)))
    jump_deg = np.degrees(np.abs(to_plane))
    flipped = np.where(_IS_LEG, turn_deg > MAX_KNEE_TURN_DEG, (jump_deg > MAX_HINGE_JUMP_DEG) & ~fresh)
    weight = np.where(flipped & (bend_deg < BARELY_BENT_DEG), 0.0, weight)

    follow = 1 - np.exp(-step_s / TWIST_TIME_S)
    drift = 1 - np.exp(-step_s * DRIFT_PER_S)
    angle = weight * follow * to_plane + (1 - weight) * drift * to_arc
    limit = np.radians(MAX_TWIST_DEG_S) * step_s
    angle = np.where(fresh, weight * to_plane, np.clip(angle, -limit, limit))
    return turns(direction, angle) @ carried, weight > 0.5


def _apply(rotations: F64, vectors: F64) -> F64:
    """Vectors (N, 3) turned by rotations (P, N, 3, 3)."""
    turned: F64 = (rotations @ vectors[..., None])[..., 0]
    return turned


def _hinges(xyz: F64) -> tuple[F64, F64]:
    """Hinge axes (P, 5, 3) in the frame's axes and bends (P, 5) in degrees: head, arms, legs.

    The head has no hinge: its lateral axis, and an angle that says how well neck, face and top span a plane.
    """
    first = xyz[:, [10, 12, 15, 5, 2]] - xyz[:, [8, 11, 14, 4, 1]]  # top of the head, upper bones
    second = xyz[:, [9, 13, 16, 6, 3]] - xyz[:, [8, 12, 15, 5, 2]]  # face, lower bones
    normal = cross(first, second)
    size = np.linalg.norm(normal, axis=-1)
    bend_deg = np.degrees(np.arctan2(size, np.einsum("pbi,pbi->pb", first, second)))
    bend_deg = np.where(np.isfinite(bend_deg), bend_deg, 0.0)
    axis = normal / np.maximum(size, 1e-12)[..., None]
    return np.where(np.isfinite(axis), axis, 0.0), bend_deg


def _directions(xyz: F64) -> tuple[F64, Mask]:
    """Unit vectors (P, B, 3) along the bones in the frame's axes, and where they are known (P, B)."""
    bones = np.zeros((len(xyz), len(HUMANOID.bones), 3))
    bones[..., 1] = 1.0
    ways = xyz[:, _ENDS] - xyz[:, _STARTS]
    lengths = np.linalg.norm(ways, axis=-1)
    known = np.zeros(bones.shape[:2], bool)
    known[:, _POINTING] = lengths > MIN_LENGTH_M  # NaN is not
    ok = known[:, _POINTING]
    bones[:, _POINTING] = np.where(
        ok[..., None], ways / np.where(ok, lengths, 1.0)[..., None], bones[:, _POINTING]
    )
    return bones, known


def _frame(x: F64, y: F64, first: int) -> tuple[F64, Mask]:
    """Rotations (P, 3, 3) with one axis, x (`first` 0) or y (1), exact and the other in the plane of both."""
    exact, exact_ok = _unit((x, y)[first])
    z, z_ok = _unit(cross(x, y))
    axes = [exact, cross(z, exact), z] if first == 0 else [cross(exact, z), exact, z]
    return np.stack(axes, axis=-1), exact_ok & z_ok


def _unit(vectors: F64) -> tuple[F64, Mask]:
    """Unit vectors (..., 3), and where they are long enough to have a direction (...)."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    ok = lengths > MIN_LENGTH_M
    return np.where(ok, vectors / np.where(ok, lengths, 1.0), 0.0), ok[..., 0]


def _angle_about(axis: F64, start: F64, end: F64) -> F64:
    """Signed angles (...) in radians that turn `start` into `end` about `axis`, right-handed."""
    sine = np.einsum("...i,...i->...", cross(start, end), axis)
    return np.asarray(np.arctan2(sine, np.einsum("...i,...i->...", start, end)))


def _wrapped(angles: F64) -> F64:
    wrapped: F64 = (angles + np.pi) % (2 * np.pi) - np.pi
    return wrapped
