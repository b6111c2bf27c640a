"""Where the floor is before a camera, from people who stand and walk on it.

Two things tell. People are upright on average, to a few degrees. And their feet come to rest on one plane:
the farther apart these places are, the better they say how it is tilted. Both are put together by least
squares, so that someone who walks to and fro on a line decides the tilt along that line, and their posture
the tilt across it. How large people are is a guess, so every person has a level of their own; only the
tilt is common to all.

Who has never moved does not count: a poster on a wall. Neither do those who crouch, lie or fall.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from stream.cameras.intrinsics import F64
from stream.messages import Contact, Pose
from stream.scene.foot_contact import ANKLE_M
from stream.skeletons import skeleton_named

_EVERY_S = 0.1  # somebody's posture is looked at
_STEP_S = (0.12, 0.5)  # how long a foot must rest to count, and when it counts again
_LEAST_POSTURES, _LEAST_STEPS = 20, 4
_KEPT = 150  # postures and steps of one person, the latest
_PEOPLE = 12  # the latest
_UPRIGHT = math.cos(math.radians(20))  # between trunk and legs
_STRAIGHT = 0.85  # of a leg's length from pelvis to ankles
_AGREE = math.cos(math.radians(15))  # with most other postures
_LEAST_AGREE = 0.7  # of the postures
_LEVEL = math.cos(math.radians(45))  # where only postures tell, the camera's own up is no farther off
_MOVED, _MOVED_TIMES = 0.2, 10  # of the body's height in the image; one wild detection is no movement
_LEAN_DEG, _STEP_M, _DEPTH = 3.5, 0.05, 0.03  # standard deviations: posture, height of a step, its distance
_SURE_DEG, _FAIR_DEG, _AT_BEST_DEG = 2.2, 4.0, 1.5
_SIZE = 0.09  # standard deviation of the size people seem to have, relative, and so of all distances


@dataclass(frozen=True, slots=True)
class Plane:
    """The floor in the camera's axes: up (3,), how high above it the camera is, and how certain that is."""

    up: F64
    height_m: float
    tilt_sd_deg: float
    height_sd_m: float


class FloorEstimator:
    """Collects what people's poses say about the floor until it is known well enough.

    patience_s: for so long, of people being seen, somebody is waited for who walks about.
    """

    def __init__(self, skeleton: str, patience_s: float) -> None:
        self._names = {name: index for index, name in enumerate(skeleton_named(skeleton).joints)}
        self._patience = patience_s / _EVERY_S
        self._people: dict[str, _Person] = {}
        self._next_s = self._solve_s = -math.inf

    def look(self, poses: list[Pose], at_s: float) -> Plane | None:
        """Take in the people of a frame, in camera axes, who have a root; the floor once it is known."""
        due = at_s >= self._next_s
        if due:
            self._next_s = at_s + _EVERY_S
        for pose in poses:
            if pose.id not in self._people:
                self._people[pose.id] = _Person(self._names)
            self._people[pose.id].look(pose, at_s, due)
        while len(self._people) > _PEOPLE:
            del self._people[next(iter(self._people))]
        if not due or at_s < self._solve_s:
            return None
        self._solve_s = at_s + 5 * _EVERY_S
        plane = self._plane()
        return plane if plane and self._will_do(plane.tilt_sd_deg) else None

    def guess(self) -> F64 | None:
        """Which way is up (3,), as far as postures have told; None before there are any."""
        ups = [up for person in self._people.values() for up in list(person.ups)[-_LEAST_POSTURES:]]
        return _middle(np.array(ups)) if ups else None

    def _moving(self) -> list["_Person"]:
        return [person for person in self._people.values() if person.moved]

    def _will_do(self, tilt_sd_deg: float) -> bool:
        waited = sum(person.upright for person in self._moving()) >= self._patience
        return tilt_sd_deg <= (_FAIR_DEG if waited else _SURE_DEG)

    def _plane(self) -> Plane | None:
        people = [person for person in self._moving() if len(person.steps) >= _LEAST_STEPS]
        ups = np.array([up for person in people for up in person.ups])
        if len(ups) < _LEAST_POSTURES:
            return None
        posture = _middle(ups)
        if (ups @ posture > _AGREE).mean() < _LEAST_AGREE:
            return None
        steps = [np.array(person.steps) for person in people]
        up, tilt_sd_deg = _tilt(posture, steps)
        if tilt_sd_deg > _SURE_DEG and -up[1] < _LEVEL:
            return None
        level = float(np.median(np.concatenate([each @ up for each in steps])))
        height = ANKLE_M - level
        return Plane(up, height, tilt_sd_deg, math.hypot(_STEP_M / 2, _SIZE * height))


def _tilt(posture: F64, steps: list[F64]) -> tuple[F64, float]:
    """Up (3,), and its standard deviation in degrees, of postures (3,) and of each person's steps (N, 3).

    up = posture + turns (2,) @ sideways (2, 3), for small turns; robust least squares as in `stream.space`.
    """
    sideways = np.linalg.svd(posture[None])[2][1:]  # (2, 3), square to it
    apart = np.concatenate([each - np.median(each, axis=0) for each in steps])
    places = np.concatenate(steps)
    known = np.eye(2) / math.radians(_LEAN_DEG) ** 2
    up = posture
    weight = np.ones(len(apart))
    for _ in range(4):
        sd = np.hypot(_STEP_M, _DEPTH * (places @ up))  # a distance that is off raises or sinks a foot
        scaled = weight / sd**2
        slopes = apart @ sideways.T  # (N, 2)
        information = known + (slopes * scaled[:, None]).T @ slopes
        turns = -np.linalg.solve(information, slopes.T @ (scaled * (apart @ posture)))
        up = posture + turns @ sideways
        up = up / np.linalg.norm(up)
        weight = 1 / (1 + (apart @ up / (2 * sd)) ** 2)
    sd_deg = math.degrees(math.sqrt(float(np.linalg.eigvalsh(np.linalg.inv(information))[-1])))
    return up, math.hypot(sd_deg, _AT_BEST_DEG)


def _middle(ups: F64) -> F64:
    """The direction (3,) in the middle of most of `ups` (N, 3)."""
    middle = np.median(ups, axis=0)
    for _ in range(3):
        near = ups[ups @ middle > _AGREE * np.linalg.norm(middle)]
        middle = near.mean(axis=0) if len(near) else middle
    unit: F64 = middle / np.linalg.norm(middle)
    return unit


class _Person:
    """What one person's poses say: ups, directions (3,); steps, places (3,) where an ankle came to rest."""

    def __init__(self, names: dict[str, int]) -> None:
        self.ups: deque[F64] = deque(maxlen=_KEPT)
        self.steps: deque[F64] = deque(maxlen=_KEPT)
        self._trunk = [names["pelvis"], names["thorax"]]
        self._legs = [
            [names[f"{side}_{at}"] for at in ("hip", "knee", "ankle")] for side in ("left", "right")
        ]
        self._ends = [names[f"{side}_{at}"] for side in ("left", "right") for at in ("wrist", "ankle")]
        self._resting: list[list[F64]] = [[], []]
        self._since_s = [0.0, 0.0]
        self._first: F64 | None = None
        self._times = self.upright = 0

    @property
    def moved(self) -> bool:
        return self._times >= _MOVED_TIMES

    def look(self, pose: Pose, at_s: float, due: bool) -> None:
        contact = pose.contact or Contact()
        for foot, rests in enumerate((contact.left, contact.right)):
            self._step(foot, bool(rests), pose, at_s)
        if due:
            self._notice(pose)
            if (up := self._posture(pose)) is not None:
                self.ups.append(up)
                self.upright += 1

    def _step(self, foot: int, rests: bool, pose: Pose, at_s: float) -> None:
        places = self._resting[foot]
        if rests and pose.root is not None:
            self._since_s[foot] = self._since_s[foot] if places else at_s
            places.append(pose.root + pose.xyz[self._legs[foot][2]])
        lasted_s = at_s - self._since_s[foot]
        if places and (not rests or lasted_s >= _STEP_S[1]):
            if lasted_s >= _STEP_S[0]:
                self.steps.append(np.mean(places, axis=0, dtype=np.float64))
            places.clear()

    def _notice(self, pose: Pose) -> None:
        """How far hands and feet are, in the image, from where they were at first."""
        if pose.kp2d is None or self.moved:
            return
        seen = np.where(pose.visible[:, None], pose.kp2d[:, :2], np.nan)
        ends = seen[self._ends]
        if self._first is None:
            self._first = ends
        self._first = np.where(np.isnan(self._first), ends, self._first)
        away, tall = np.linalg.norm(ends - self._first, axis=1), np.ptp(seen[np.isfinite(seen[:, 1]), 1])
        self._times += bool((away > _MOVED * tall).any())

    def _posture(self, pose: Pose) -> F64 | None:
        """From between the ankles to the shoulders (3,), of those who stand or walk."""
        joints = [*self._trunk, *self._legs[0], *self._legs[1]]
        if not pose.visible[joints].all():
            return None
        pelvis, thorax, *legs = pose.xyz[joints].astype(np.float64)
        ankles = (legs[2] + legs[5]) / 2
        trunk, below = thorax - pelvis, pelvis - ankles
        bones = np.linalg.norm(np.diff(np.reshape(legs, (2, 3, 3)), axis=1), axis=2).sum() / 2
        tall, long = np.linalg.norm(trunk), np.linalg.norm(below)
        if not (trunk @ below > _UPRIGHT * tall * long and long > _STRAIGHT * bones):
            return None
        up: F64 = (thorax - ankles) / np.linalg.norm(thorax - ankles)
        return up
