"""Joint rotations: local quaternions of the humanoid rig (`stream.rig`) from 17 positions, in closed form.

Positions fix the direction of every bone, but not how it is twisted about its own axis:

    Hips, Chest   the hip line and the shoulder line give the twist
    Head          the plane through neck, face and top of the head gives it
    upper arm,    the elbow and the knee are hinges: the plane of the bent limb gives the twist of the upper
    upper leg     bone, and the lower bone then turns about the hinge alone
    all others    no joint shows it; they keep the parent's twist (smallest rotation from the rest pose)

A nearly straight limb spans no plane. Between 12 and 30 degrees of bend the plane's twist is blended in;
below, the last twist is held and drifts back to the parent's. A knee that seems to bend forwards is noise and
is ignored. No twist turns faster than `MAX_TWIST_DEG_S`: bone directions are always exact, only the twist lags.

The step runs last, after smoothing, bone lengths and the change into a world frame.
"""

from enum import IntEnum

import numpy as np

from stream.messages import F32, U8, Mask
from stream.postprocess.batch import BatchFrame, BatchRotations, PersonState, PoseBatch
from stream.rig import HUMANOID
from stream.rotations import F64, quaternions, shortest_arcs, turns

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
_HIPS, _SPINE, _CHEST, _NECK = (_BONE[name] for name in ("Hips", "Spine", "Chest", "Neck"))
# Bones whose twist has a hinge, with the hinge's axis at rest: Head, then arms and legs.
_TWISTED = tuple(
    _BONE[name] for name in ("Head", "LeftUpperArm", "RightUpperArm", "LeftUpperLeg", "RightUpperLeg")
)
_HINGES = np.array([(1, 0, 0), (0, -1, 0), (0, 1, 0), (1, 0, 0), (1, 0, 0)], np.float64)
_LOWER = tuple(_BONE[name] for name in ("LeftLowerArm", "RightLowerArm", "LeftLowerLeg", "RightLowerLeg"))
_IS_LEG = np.array([False, False, False, True, True])
_REST = HUMANOID.directions
_PARENTS = np.array(HUMANOID.parents)
_POINTING = np.array([bone for bone, target in enumerate(HUMANOID.targets) if target >= 0])
_STARTS = np.array([HUMANOID.heads[bone] for bone in _POINTING])
_ENDS = np.array([HUMANOID.targets[bone] for bone in _POINTING])
_OFFSETS = np.array([bone for bone in range(len(HUMANOID.bones)) if HUMANOID.parents[bone] >= 0])


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
    local, twist = solve(xyz.astype(np.float64), before, steps_s)
    quats = quaternions(local)
    last = np.stack([rig.quat for rig in rigs])
    quats *= np.where(np.einsum("pbi,pbi->pb", quats, last) < 0, -1.0, 1.0)[..., None]
    offsets = rest_offsets(xyz, local)
    for n, rig in enumerate(rigs):
        rig.local, rig.quat, rig.captured_ns = local[n], quats[n], times_ns[n]
        whole = np.isfinite(offsets[n]).all(axis=1)
        rig.samples = min(rig.samples + 1, MEAN_SAMPLES)
        rig.rest[whole] += (offsets[n][whole] - rig.rest[whole]) / rig.samples
    rest = np.stack([rig.rest for rig in rigs])
    return quats.astype(np.float32), rest.astype(np.float32), twist


def solve(xyz: F64, before: F64, steps_s: F64) -> tuple[F64, U8]:
    """Local rotations (P, B, 3, 3) of joints xyz (P, 17, 3) m, and how each bone's twist is known (P, B).

    before: the rotations (P, B, 3, 3) `steps_s` (P,) seconds ago, NaN where there are none.
    """
    people, bones = len(xyz), len(HUMANOID.bones)
    local = np.broadcast_to(np.eye(3), (people, bones, 3, 3)).copy()
    world = local.copy()
    twist = np.zeros((people, bones), np.uint8)
    towards, known = _directions(xyz)

    def place(bone: int, turned: F64, ok: Mask) -> None:
        """Set a bone's local rotation, or hold the last one where its joints are missing."""
        held = np.where(np.isfinite(before[:, bone, :1, :1]), before[:, bone], np.eye(3))
        local[:, bone] = np.where(ok[:, None, None], turned, held)
        parent = _PARENTS[bone]
        world[:, bone] = local[:, bone] if parent < 0 else world[:, parent] @ local[:, bone]
        twist[~ok, bone] = Twist.HELD

    hips, hips_ok = _frame_x_first(xyz[:, 4] - xyz[:, 1], xyz[:, 8] - xyz[:, 0])
    place(_HIPS, hips, hips_ok)
    place(_SPINE, _arc(world[:, _HIPS], _SPINE, towards), known[:, _SPINE])
    chest, chest_ok = _frame_y_first(xyz[:, 8] - xyz[:, 7], xyz[:, 11] - xyz[:, 14])
    place(_CHEST, np.swapaxes(world[:, _SPINE], -1, -2) @ chest, chest_ok)
    twist[:, _HIPS] = np.where(hips_ok, Twist.MEASURED, Twist.HELD)
    twist[:, _CHEST] = np.where(chest_ok, Twist.MEASURED, Twist.HELD)
    for name in ("Neck", "LeftShoulder", "RightShoulder"):
        bone = _BONE[name]
        place(bone, _arc(world[:, _PARENTS[bone]], bone, towards), known[:, bone])

    turned, measured = _twisted(xyz, world, before, towards, steps_s)
    for n, bone in enumerate(_TWISTED):
        place(bone, turned[:, n], known[:, bone])
        twist[:, bone] = np.where(measured[:, n] & known[:, bone], Twist.MEASURED, Twist.HELD)
    for bone in _LOWER:
        place(bone, _arc(world[:, _PARENTS[bone]], bone, towards), known[:, bone])
        twist[known[:, bone], bone] = twist[known[:, bone], _PARENTS[bone]]
    return local, twist


def rest_offsets(xyz: F32, local: F64) -> F64:
    """Where each bone's head lies (P, B, 3) m from its parent's head, in the parent's rest axes."""
    world = HUMANOID.world_rotations(local)
    heads = np.asarray(xyz, np.float64)[:, list(HUMANOID.heads)]
    offsets = np.zeros((len(xyz), len(HUMANOID.bones), 3))
    parents = _PARENTS[_OFFSETS]
    offsets[:, _OFFSETS] = np.einsum(
        "pbji,pbj->pbi", world[:, parents], heads[:, _OFFSETS] - heads[:, parents]
    )
    return offsets


def _twisted(xyz: F64, world: F64, before: F64, towards: F64, steps_s: F64) -> tuple[F64, Mask]:
    """Local rotations (P, 5, 3, 3) of head, upper arms and legs; whether their twist is measured (P, 5)."""
    bones = list(_TWISTED)
    parent = world[:, _PARENTS[bones]]
    hinge, bend_deg = _hinges(xyz)
    direction = np.einsum("pbji,pbj->pbi", parent, towards[:, bones])
    hinge = np.einsum("pbji,pbj->pbi", parent, hinge)
    arc = shortest_arcs(np.broadcast_to(_REST[bones], direction.shape), direction)
    last = before[:, bones]
    fresh = ~np.isfinite(last[..., 0, 0])
    last = np.where(fresh[..., None, None], arc, last)
    last_direction = np.einsum("pbij,bj->pbi", last, _REST[bones])
    carried = shortest_arcs(last_direction, direction) @ last  # no twist about the bone but the last one

    start = np.einsum("pbij,bj->pbi", carried, _HINGES)
    to_plane = _angle_about(direction, start, hinge)
    to_arc = _angle_about(direction, start, np.einsum("pbij,bj->pbi", arc, _HINGES))
    weight = np.clip((bend_deg - STRAIGHT_DEG) / (BENT_DEG - STRAIGHT_DEG), 0.0, 1.0)
    weight = weight * weight * (3 - 2 * weight)
    turn = np.degrees(np.abs(_wrapped(to_plane - to_arc)))
    flipped = np.where(_IS_LEG, turn > MAX_KNEE_TURN_DEG, np.degrees(np.abs(to_plane)) > MAX_HINGE_JUMP_DEG)
    weight = np.where(flipped & (bend_deg < BARELY_BENT_DEG) & ~(fresh & ~_IS_LEG), 0.0, weight)

    step = steps_s[:, None]
    follow = 1 - np.exp(-step / TWIST_TIME_S)
    drift = 1 - np.exp(-step * DRIFT_PER_S)
    angle = weight * follow * to_plane + (1 - weight) * drift * to_arc
    limit = np.radians(MAX_TWIST_DEG_S) * step
    angle = np.where(fresh, weight * to_plane, np.clip(angle, -limit, limit))
    return turns(direction, angle) @ carried, weight > 0.5


def _hinges(xyz: F64) -> tuple[F64, F64]:
    """Hinge axes (P, 5, 3) in the frame's axes and bends (P, 5) in degrees: head, arms, legs.

    The head has no hinge: its lateral axis, and an angle that says how well neck, face and top span a plane.
    """
    first = np.stack(
        [xyz[:, 10] - xyz[:, 8], *(xyz[:, b] - xyz[:, a] for a, b in ((11, 12), (14, 15), (4, 5), (1, 2)))], 1
    )
    second = np.stack(
        [xyz[:, 9] - xyz[:, 8], *(xyz[:, b] - xyz[:, a] for a, b in ((12, 13), (15, 16), (5, 6), (2, 3)))], 1
    )
    cross = np.cross(first, second)
    size = np.linalg.norm(cross, axis=-1)
    bend_deg = np.degrees(np.arctan2(size, np.einsum("pbi,pbi->pb", first, second)))
    bend_deg = np.where(np.isfinite(bend_deg), bend_deg, 0.0)
    axis = cross / np.maximum(size, 1e-12)[..., None]
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


def _arc(parent: F64, bone: int, towards: F64) -> F64:
    """Local rotation (P, 3, 3) by the smallest turn from the rest direction."""
    direction = np.einsum("pji,pj->pi", parent, towards[:, bone])
    return shortest_arcs(np.broadcast_to(_REST[bone], direction.shape), direction)


def _frame_x_first(x: F64, y: F64) -> tuple[F64, Mask]:
    """Rotations (P, 3, 3) whose x axis is x (P, 3) exactly and whose y axis lies towards y."""
    x, x_ok = _unit(x)
    z, z_ok = _unit(np.cross(x, y))
    return np.stack([x, np.cross(z, x), z], axis=-1), x_ok & z_ok


def _frame_y_first(y: F64, x: F64) -> tuple[F64, Mask]:
    """Rotations (P, 3, 3) whose y axis is y (P, 3) exactly and whose x axis lies towards x."""
    y, y_ok = _unit(y)
    z, z_ok = _unit(np.cross(x, y))
    return np.stack([np.cross(y, z), y, z], axis=-1), y_ok & z_ok


def _unit(vectors: F64) -> tuple[F64, Mask]:
    """Unit vectors (..., 3), and where they are long enough to have a direction (...)."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    ok = lengths > MIN_LENGTH_M
    return np.where(ok, vectors / np.where(ok, lengths, 1.0), 0.0), ok[..., 0]


def _angle_about(axis: F64, start: F64, end: F64) -> F64:
    """Signed angles (...) in radians that turn `start` into `end` about `axis`, right-handed."""
    sine = np.einsum("...i,...i->...", np.cross(start, end), axis)
    return np.arctan2(sine, np.einsum("...i,...i->...", start, end))


def _wrapped(angles: F64) -> F64:
    wrapped: F64 = (angles + np.pi) % (2 * np.pi) - np.pi
    return wrapped
