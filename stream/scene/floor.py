"""The floor before a camera, estimated from people who stand and walk on it.

Two observations determine its tilt. People are upright on average, to a few degrees. And their feet come to
rest on one plane: the larger the area of these steps, the better they determine the plane. Both are combined
by least squares, so that a person who walks to and fro on a line determines the tilt along that line, and
their posture the tilt across it. Body sizes, and so distances, are guesses, so each person has a level of
their own; only the tilt is common to all.

People who have never moved do not count, since a poster on a wall shows a person too; nor do people who
crouch, lie or fall.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from stream.messages import Contact, Pose
from stream.rotations import F64
from stream.scene.foot_contact import ANKLE_M
from stream.skeletons import skeleton_named

_POSTURE_INTERVAL_S = 0.1
_SOLVE_INTERVAL_S = 5 * _POSTURE_INTERVAL_S
_MIN_STEP_S, _MAX_STEP_S = 0.12, 0.5  # a shorter rest of a foot is no step, a longer one counts as several
_MIN_POSTURES, _MIN_STEPS = 20, 4
_MAX_SAMPLES = 150  # of each person's postures and steps, the latest
_MAX_PEOPLE = 12  # the latest
_MAX_BEND_COS = math.cos(math.radians(20))  # between trunk and legs of an upright person
_MIN_LEG_STRETCH = 0.85  # distance from pelvis to ankles, of the length of a leg
_AGREEMENT_COS = math.cos(math.radians(15))  # between postures that agree
_MIN_AGREEMENT = 0.7  # part of the postures that agree with their mean
_MAX_POSTURE_TILT_COS = math.cos(math.radians(45))  # from the camera's up, when steps do not determine it
_MIN_MOTION, _MIN_MOVED_POSTURES = 0.2, 10  # of body height in the image; one bad detection is no motion
# Standard deviations: lean of a posture, height of a step; relative: distance of a step, body size.
_LEAN_SD_DEG, _STEP_SD_M, _DEPTH_SD, _SIZE_SD = 3.5, 0.05, 0.03, 0.09
_GOOD_TILT_SD_DEG, _FAIR_TILT_SD_DEG = 2.2, 4.0  # accepted at once, and after `patience_s`
_MODEL_SD_DEG = 1.5  # of the tilt, however many observations there are
_IRLS_ITERATIONS, _MEAN_ITERATIONS = 4, 3


@dataclass(frozen=True, slots=True)
class Plane:
    """The floor in the camera's axes: up vector (3,), the camera's height above it, standard deviations."""

    up: F64
    height_m: float
    tilt_sd_deg: float
    height_sd_m: float


class FloorEstimator:
    """Collects postures and steps of people until they determine the floor well enough.

    patience_s: after so long of upright people, a floor of fair certainty is accepted, as from people who
    stand but do not walk.
    """

    def __init__(self, skeleton: str, patience_s: float) -> None:
        self._joints = {name: index for index, name in enumerate(skeleton_named(skeleton).joints)}
        self._patient_postures = patience_s / _POSTURE_INTERVAL_S
        self._people: dict[str, _Person] = {}
        self._next_posture_s = self._next_solve_s = -math.inf

    def observe(self, poses: list[Pose], at_s: float) -> Plane | None:
        """Take the people of a frame who have a root, in camera axes; the floor as soon as it is certain."""
        with_posture = at_s >= self._next_posture_s
        if with_posture:
            self._next_posture_s = at_s + _POSTURE_INTERVAL_S
        for pose in poses:
            if pose.id not in self._people:
                self._people[pose.id] = _Person(self._joints)
            self._people[pose.id].observe(pose, at_s, with_posture)
        while len(self._people) > _MAX_PEOPLE:
            del self._people[next(iter(self._people))]
        if not with_posture or at_s < self._next_solve_s:
            return None
        self._next_solve_s = at_s + _SOLVE_INTERVAL_S
        plane = self._solve()
        return plane if plane and self._certain_enough(plane.tilt_sd_deg) else None

    def guess_up(self) -> F64 | None:
        """The up vector (3,) from postures alone; None before the first posture."""
        up_vectors = [
            up for person in self._people.values() for up in list(person.up_vectors)[-_MIN_POSTURES:]
        ]
        return _robust_mean(np.array(up_vectors)) if up_vectors else None

    def _moving_people(self) -> list["_Person"]:
        return [person for person in self._people.values() if person.has_moved]

    def _certain_enough(self, tilt_sd_deg: float) -> bool:
        postures = sum(person.postures for person in self._moving_people())
        patient = postures >= self._patient_postures
        return tilt_sd_deg <= (_FAIR_TILT_SD_DEG if patient else _GOOD_TILT_SD_DEG)

    def _solve(self) -> Plane | None:
        people = [person for person in self._moving_people() if len(person.steps) >= _MIN_STEPS]
        up_vectors = np.array([up for person in people for up in person.up_vectors])
        if len(up_vectors) < _MIN_POSTURES:
            return None
        posture = _robust_mean(up_vectors)
        if (up_vectors @ posture > _AGREEMENT_COS).mean() < _MIN_AGREEMENT:
            return None
        steps = [np.array(person.steps) for person in people]
        up, tilt_sd_deg = _solve_up(posture, steps)
        if tilt_sd_deg > _GOOD_TILT_SD_DEG and -up[1] < _MAX_POSTURE_TILT_COS:
            return None
        ankle_level = float(np.median(np.concatenate([person_steps @ up for person_steps in steps])))
        height_m = ANKLE_M - ankle_level
        return Plane(up, height_m, tilt_sd_deg, math.hypot(_STEP_SD_M / 2, _SIZE_SD * height_m))


def _solve_up(posture: F64, steps: list[F64]) -> tuple[F64, float]:
    """The up vector (3,) and its standard deviation in degrees.

    posture (3,): the mean of postures; steps: of each person (N, 3) metres. up = posture + tilt (2,) @ basis
    (2, 3) for small tilts; robust least squares as in `stream.scene.translation`.
    """
    basis = np.linalg.svd(posture[None])[2][1:]  # (2, 3), orthogonal to the posture
    offsets = np.concatenate([person_steps - np.median(person_steps, axis=0) for person_steps in steps])
    positions = np.concatenate(steps)
    prior = np.eye(2) / math.radians(_LEAN_SD_DEG) ** 2
    up = posture
    weight = np.ones(len(offsets))
    for _ in range(_IRLS_ITERATIONS):
        sd = np.hypot(_STEP_SD_M, _DEPTH_SD * (positions @ up))  # a wrong distance raises or lowers a foot
        precision = weight / sd**2
        slopes = offsets @ basis.T  # (N, 2)
        information = prior + (slopes * precision[:, None]).T @ slopes
        tilt = -np.linalg.solve(information, slopes.T @ (precision * (offsets @ posture)))
        up = posture + tilt @ basis
        up = up / np.linalg.norm(up)
        weight = 1 / (1 + (offsets @ up / (2 * sd)) ** 2)
    sd_deg = math.degrees(math.sqrt(float(np.linalg.eigvalsh(np.linalg.inv(information))[-1])))
    return up, math.hypot(sd_deg, _MODEL_SD_DEG)


def _robust_mean(up_vectors: F64) -> F64:
    """The unit vector (3,) in the middle of most of `up_vectors` (N, 3)."""
    mean = np.median(up_vectors, axis=0)
    for _ in range(_MEAN_ITERATIONS):
        near = up_vectors[up_vectors @ mean > _AGREEMENT_COS * np.linalg.norm(mean)]
        mean = near.mean(axis=0) if len(near) else mean
    unit: F64 = mean / np.linalg.norm(mean)
    return unit


class _Person:
    """Observations of one person in the camera's axes.

    up_vectors: unit vectors (3,) of upright postures; postures: how many there were in all; steps: points
    (3,) in metres at which an ankle came to rest.
    """

    def __init__(self, joints: dict[str, int]) -> None:
        self.up_vectors: deque[F64] = deque(maxlen=_MAX_SAMPLES)
        self.steps: deque[F64] = deque(maxlen=_MAX_SAMPLES)
        self.postures = 0
        self._trunk = [joints["pelvis"], joints["thorax"]]
        self._legs = [
            [joints[f"{side}_{part}"] for part in ("hip", "knee", "ankle")] for side in ("left", "right")
        ]
        self._limb_ends = [
            joints[f"{side}_{part}"] for side in ("left", "right") for part in ("wrist", "ankle")
        ]
        self._resting: list[list[F64]] = [[], []]  # positions of each ankle since it came to rest
        self._rest_start_s = [0.0, 0.0]
        self._initial_xy: F64 | None = None
        self._moved_postures = 0

    @property
    def has_moved(self) -> bool:
        return self._moved_postures >= _MIN_MOVED_POSTURES

    def observe(self, pose: Pose, at_s: float, with_posture: bool) -> None:
        contact = pose.contact or Contact()
        for foot, in_contact in enumerate((contact.left, contact.right)):
            self._track_step(foot, bool(in_contact), pose, at_s)
        if with_posture:
            self._track_motion(pose)
            if (up := self._posture(pose)) is not None:
                self.up_vectors.append(up)
                self.postures += 1

    def _track_step(self, foot: int, in_contact: bool, pose: Pose, at_s: float) -> None:
        positions = self._resting[foot]
        if in_contact and pose.root is not None:
            self._rest_start_s[foot] = self._rest_start_s[foot] if positions else at_s
            positions.append(pose.root + pose.xyz[self._legs[foot][2]])
        duration_s = at_s - self._rest_start_s[foot]
        if positions and (not in_contact or duration_s >= _MAX_STEP_S):
            if duration_s >= _MIN_STEP_S:
                self.steps.append(np.mean(positions, axis=0, dtype=np.float64))
            positions.clear()

    def _track_motion(self, pose: Pose) -> None:
        """Count the postures with a hand or foot far, in the image, from its first position."""
        if pose.kp2d is None or self.has_moved:
            return
        visible_xy = np.where(pose.visible[:, None], pose.kp2d[:, :2], np.nan)
        ends = visible_xy[self._limb_ends]
        if self._initial_xy is None:
            self._initial_xy = ends
        self._initial_xy = np.where(np.isnan(self._initial_xy), ends, self._initial_xy)
        moved_px = np.linalg.norm(ends - self._initial_xy, axis=1)
        height_px = np.ptp(visible_xy[np.isfinite(visible_xy[:, 1]), 1])
        self._moved_postures += bool((moved_px > _MIN_MOTION * height_px).any())

    def _posture(self, pose: Pose) -> F64 | None:
        """The unit vector (3,) from between the ankles to the thorax; None unless the person is upright."""
        joints = [*self._trunk, *self._legs[0], *self._legs[1]]
        if not pose.visible[joints].all():
            return None
        pelvis, thorax, *legs = pose.xyz[joints].astype(np.float64)
        ankles = (legs[2] + legs[5]) / 2
        trunk, lower_body = thorax - pelvis, pelvis - ankles
        leg_length = np.linalg.norm(np.diff(np.reshape(legs, (2, 3, 3)), axis=1), axis=2).sum() / 2
        trunk_length, lower_length = np.linalg.norm(trunk), np.linalg.norm(lower_body)
        straight = trunk @ lower_body > _MAX_BEND_COS * trunk_length * lower_length
        if not (straight and lower_length > _MIN_LEG_STRETCH * leg_length):
            return None
        up: F64 = (thorax - ankles) / np.linalg.norm(thorax - ankles)
        return up
