"""Repair of left and right joints that a detector exchanges, from motion, trunk and face.

The detector may exchange the whole body, the arms, the legs, the face or one pair of joints, for one frame
or for seconds. A Bayesian filter follows the probability of each such state (`exchange_states`). Its cues:

motion  each joint is expected where its velocity takes it; when both joints of a pair appear at the place of
        the other one, the detector has changed sides
trunk   shoulders cannot point the other way round from the hips while both are wide in the picture
face    the face cannot point the other way round from the shoulders

Where the sides look the same in the picture, as in a side view, the probabilities return to the detector's
own sides, so that no repair outlasts its evidence.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.messages import I64, KeypointFrame, Keypoints, Mask
from stream.protocols import ComponentContext
from stream.tracking.body_twist import BodyTwist
from stream.tracking.exchange_states import ExchangeStates, exchange_states

F64 = NDArray[np.float64]

# No person turns by a quarter within this time, so a side that jumps within it is exchanged.
MAX_AGE_S = 0.12
START_S = 0.3  # an exchange so soon after a person's first frame may end one that began there
MAX_REPAIR_S = 2.5  # a longer exchange is taken for the truth
_VELOCITY_S = 0.05  # time constant of the velocity average
# Standard deviation of a joint from its expected position, in body sizes. It follows the person's own
# deviations between these limits, and grows with the square of the time, as an acceleration does.
MIN_SIGMA, START_SIGMA, MAX_SIGMA, SIGMA_PER_S2 = 0.010, 0.025, 0.05, 3.0
MAX_DEVIATION = 2.0  # standard deviations by which one frame may move a joint from its expected position
SIGMA_SCALE = 1.5  # some joints deviate more than the median joint
_MIN_JOINTS = 4
_SIGMA_S = 0.5  # time constant of the average of deviations
TAIL = 4.0  # half a squared deviation above which a joint's cost grows slowly: it may be simply wrong
# Logarithm of the odds that one frame's motion can give. With less, arms that return for a frame take hips,
# knees and ankles with them; with much more, noise exchanges single pairs.
MAX_EVIDENCE = 18.0
MIN_PROBABILITY = 0.5  # of an exchange that is repaired
# With this probability of the detector's own sides, weaker evidence in a frame changes nothing.
_CERTAIN, _WEAK_EVIDENCE = 0.95, 3.0
_NEVER_NS = -(2**62)
_MIN_BODY_PX = 8.0
_MAX_SHRINK = 0.9  # per frame, of the body size: a half hidden body has not shrunk


@dataclass(slots=True)
class _Motion:
    """Motion of one person's N points as the detector names them: the joints, then left and right face.

    xy (N, 2) px: last detected positions; velocity (N, 2) px/s; last_ns (N,) of the last detection.
    repair_start_ns (P,): since when a pair of joints is repaired, or 0. belief (S,): probability of each
    exchange state. size: of the body in px. variance: of a joint from its expected position, in squared body
    sizes. newest_ns, start_ns: times of the last and the first frame with the person. settled: whether its
    first frames are over, in which the detector may start with exchanged sides.
    """

    xy: F64
    velocity: F64
    last_ns: I64
    repair_start_ns: I64
    belief: F64
    size: float = _MIN_BODY_PX
    variance: float = START_SIGMA**2
    newest_ns: int = field(default=_NEVER_NS)
    start_ns: int = 0
    settled: bool = False

    @classmethod
    def unknown(cls, points: int, pairs: int, belief: F64) -> "_Motion":
        zeros = np.zeros((points, 2))
        return cls(zeros, zeros.copy(), np.full(points, _NEVER_NS), np.zeros(pairs, np.int64), belief.copy())

    def settle(self) -> None:
        """End the doubt about a person's first frames."""
        self.settled = True
        if self.belief[0] > MIN_PROBABILITY:
            self.belief[0] = 1.0
            self.belief[1:] = 0.0

    def rename(self, order: NDArray[np.intp]) -> None:
        """Reorder the points: the detector now names them differently."""
        self.xy, self.velocity, self.last_ns = self.xy[order], self.velocity[order], self.last_ns[order]

    def update(self, xy: F64, detected: Mask, now_ns: int) -> None:
        elapsed_s = (now_ns - self.last_ns[detected, None]) / 1e9
        recent = (elapsed_s > 0) & (elapsed_s <= MAX_AGE_S)
        expected = self.xy[detected] + elapsed_s * self.velocity[detected]
        deviation = xy[detected] - expected
        limit_px = MAX_DEVIATION * self.sigma_px(np.clip(elapsed_s, 0, MAX_AGE_S))
        self._update_variance(deviation, recent[:, 0], elapsed_s)
        distance = np.linalg.norm(deviation, axis=1, keepdims=True)
        deviation *= np.minimum(limit_px / np.maximum(distance, 1e-9), 1.0)
        correction = deviation / (np.abs(elapsed_s) + _VELOCITY_S)
        self.velocity[detected] = np.where(recent, self.velocity[detected] + correction, 0.0)
        self.xy[detected] = np.where(recent, expected + deviation, xy[detected])
        self.last_ns[detected] = now_ns
        self.newest_ns = now_ns
        if detected.any():
            diagonal = float(np.hypot(*np.ptp(xy[detected], axis=0)))
            self.size = max(diagonal, _MAX_SHRINK * self.size, _MIN_BODY_PX)

    def _update_variance(self, deviation: F64, recent: Mask, elapsed_s: F64) -> None:
        """Average the median deviation (N, 2) px of the joints over time."""
        if np.count_nonzero(recent) < _MIN_JOINTS:
            return
        # For normal deviations in two axes the median of the squared distance is 1.39 variances.
        squared = float(np.median(np.square(deviation[recent]).sum(axis=1))) / 1.39 / self.size**2
        weight = min(float(elapsed_s[recent].min()) / _SIGMA_S, 1.0)
        self.variance += weight * (min(squared, MAX_SIGMA**2) - self.variance)

    def sigma_px(self, age_s: F64) -> F64:
        """Standard deviation in px from the expected position, age_s after the last detection."""
        sigma = np.sqrt(max(SIGMA_SCALE**2 * self.variance, MIN_SIGMA**2)) + SIGMA_PER_S2 * np.square(age_s)
        return np.asarray(sigma * self.size)


class LeftRightRepair:
    """Repairs keypoints of one camera's people, who all have ids; counts repaired detections as `swaps`."""

    def __init__(self, skeleton: str, context: ComponentContext) -> None:
        layout = skeletons.skeleton_named(skeleton)
        self._context = context
        joints = len(layout.joints)
        self._joint_pairs = np.array(layout.flip_pairs)
        self._pairs = np.array(
            [*layout.flip_pairs, (joints, joints + 1)]
        )  # the face points follow the joints
        self._states: ExchangeStates = exchange_states(layout)
        self._twist = BodyTwist(layout, self._states)
        self._motions: dict[str | None, _Motion] = {}

    def update(self, frame: KeypointFrame) -> KeypointFrame:
        """The frame with its exchanged sides repaired; `Keypoints.repaired` marks the repaired joints."""
        now_ns = frame.header.captured_ns
        oldest_ns = now_ns - round(MAX_AGE_S * 1e9)
        self._motions = {id: motion for id, motion in self._motions.items() if motion.newest_ns >= oldest_ns}
        return replace(frame, persons=tuple([self._repair(person, now_ns) for person in frame.persons]))

    def _repair(self, person: Keypoints, now_ns: int) -> Keypoints:
        xy, detected = _points(person)
        motion = self._motions.get(person.id)
        if motion is None or now_ns <= motion.newest_ns:
            motion = self._motions[person.id] = _Motion.unknown(
                len(xy), len(self._joint_pairs), self._states.start
            )
            motion.start_ns = now_ns
            motion.update(xy, detected, now_ns)
            return person
        self._follow(motion, xy, detected, now_ns)
        if not motion.settled and now_ns - motion.start_ns > START_S * 1e9:
            motion.settle()
        exchanged = (motion.belief @ self._states.exchanged)[:-1] > MIN_PROBABILITY
        motion.update(xy, detected, now_ns)
        if not exchanged.any():
            motion.repair_start_ns[:] = 0
            return person
        start_ns = np.where(motion.repair_start_ns, motion.repair_start_ns, now_ns)
        motion.repair_start_ns = np.where(exchanged, start_ns, 0)
        if (exchanged & (now_ns - start_ns > MAX_REPAIR_S * 1e9)).any():
            del self._motions[person.id]
            return person
        self._context.health.increment(self._context.name, "swaps")
        return _exchange(person, self._joint_pairs[exchanged])

    def _follow(self, motion: _Motion, xy: F64, detected: Mask, now_ns: int) -> None:
        """Update the belief, and the motion where the detector has changed sides since the last frame."""
        gain = self._gain(motion, xy, detected, now_ns)
        penalty = self._twist.penalty(xy, detected, motion.size)
        elapsed_s = (now_ns - motion.newest_ns) / 1e9
        certain = motion.belief[0] > _CERTAIN and np.maximum(gain, 0.0).sum() < _WEAK_EVIDENCE
        if certain and (penalty is None or penalty[0] <= 0):
            return
        evidence = self._states.changed @ gain  # (S, S)
        likelihood = np.exp(np.maximum(evidence - evidence.max(), -MAX_EVIDENCE))
        joint = motion.belief[:, None] * self._states.transition(elapsed_s) * likelihood
        if penalty is not None:
            joint *= np.exp(-elapsed_s * penalty)
        joint /= joint.sum()
        motion.belief = joint.sum(axis=0)
        changed = np.tensordot(joint, self._states.changed, 2) > MIN_PROBABILITY
        if changed.any():
            order = np.arange(len(xy))
            left, right = self._pairs[changed].T
            order[left], order[right] = right, left
            motion.rename(order)

    def _gain(self, motion: _Motion, xy: F64, detected: Mask, now_ns: int) -> F64:
        """(P,) by how much better each pair fits its expected position when its sides are exchanged."""
        age_s = (now_ns - motion.last_ns[:, None]) / 1e9  # (N, 1)
        recent = ((age_s > 0) & (age_s <= MAX_AGE_S))[:, 0]
        age_s = np.clip(age_s, 0, MAX_AGE_S)
        expected = motion.xy + age_s * motion.velocity
        sigma_px = motion.sigma_px(age_s)  # (N, 1)
        left, right = self._pairs.T

        def cost(points: NDArray[np.intp], expected_points: NDArray[np.intp]) -> F64:
            deviation = (xy[points] - expected[expected_points]) / sigma_px[expected_points]
            distance = np.square(deviation).sum(axis=1) / 2
            return np.where(detected[points], TAIL * np.log1p(distance / TAIL), 0.0)

        straight = cost(left, left) + cost(right, right)
        crossed = cost(left, right) + cost(right, left)
        return np.where(recent[left] & recent[right], straight - crossed, 0.0)


def _points(person: Keypoints) -> tuple[F64, Mask]:
    """Positions (J + 2, 2) px of the joints and the two face points, and the detected of them (J + 2,)."""
    face = np.full((2, 2), np.nan) if person.face is None else person.face
    xy = np.concatenate([person.xy, face]).astype(np.float64)
    detected: Mask = np.logical_and.reduce(np.isfinite(xy), axis=1)
    detected[:-2] &= person.score > 0
    return np.where(detected[:, None], xy, 0.0), detected


def _exchange(person: Keypoints, pairs: NDArray[np.intp]) -> Keypoints:
    """The person with the joints of these pairs (N, 2) exchanged."""
    left, right = pairs.T
    order = np.arange(len(person.score))
    order[left], order[right] = right, left
    repaired = tuple(sorted(pairs.ravel().tolist()))
    return replace(person, xy=person.xy[order], score=person.score[order], repaired=repaired)
