"""Repair of short left/right mix-ups of the detector, from the motion just before.

A whole person, both arms, both legs or one pair of joints may be mixed up. Each joint is expected where its
velocity takes it. The hypothesis that explains the new frame best wins, and a mix-up must explain it much
better than the frame as it is. A joint that was missing a moment ago expects nothing, so no person is turned
by force. A mix-up that lasts is accepted as the truth.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.messages import I64, KeypointFrame, Keypoints, Mask
from stream.protocols import ComponentContext

F64 = NDArray[np.float64]

# No person turns by a quarter within this time, so a side that jumps within it is a mix-up.
MAX_AGE_S = 0.12
MAX_REPAIR_S = 0.5  # a mix-up that lasts longer is taken for the truth
_VELOCITY_S = 0.05  # time constant of the velocity average
# Standard deviation of a joint from its expected position, in body sizes; it grows with the square of the
# time, as an acceleration does. This growth leaves people alone in cameras of 12 frames per second.
POSITION_SIGMA, POSITION_SIGMA_PER_S2 = 0.025, 10.0
MAX_COST = 8.0  # of one joint (half a squared deviation): a less likely joint is simply wrong
MIN_GAIN = 6.0  # by how much a mix-up must explain the frame better
_NEVER_NS = -(2**62)
_MIN_BODY_PX = 8.0
_MAX_SHRINK = 0.9  # per frame, of the body size: a half hidden body has not shrunk


@dataclass(slots=True)
class _Motion:
    """Motion of one person's joints.

    xy (J, 2) px: last detected positions; velocity (J, 2) px/s; last_ns (J,) of the last detection;
    repair_start_ns (P,): since when a pair of joints is repaired, or 0; size: of the body in px.
    """

    xy: F64
    velocity: F64
    last_ns: I64
    repair_start_ns: I64
    size: float = 0.0

    @classmethod
    def unknown(cls, joints: int, pairs: int) -> "_Motion":
        never = np.full(joints, _NEVER_NS)
        return cls(np.zeros((joints, 2)), np.zeros((joints, 2)), never, np.zeros(pairs, np.int64))

    def update(self, person: Keypoints, now_ns: int) -> None:
        detected = _detected(person)
        elapsed_s = (now_ns - self.last_ns[detected, None]) / 1e9
        step = person.xy[detected] - self.xy[detected]
        recent = (elapsed_s > 0) & (elapsed_s <= MAX_AGE_S)
        correction = (step - elapsed_s * self.velocity[detected]) / (np.abs(elapsed_s) + _VELOCITY_S)
        self.velocity[detected] = np.where(recent, self.velocity[detected] + correction, 0.0)
        self.xy[detected] = person.xy[detected]
        self.last_ns[detected] = now_ns
        if detected.any():
            diagonal = float(np.hypot(*np.ptp(person.xy[detected], axis=0)))
            self.size = max(diagonal, _MAX_SHRINK * self.size, _MIN_BODY_PX)


class LeftRightRepair:
    """Repairs keypoints of one camera's people, who all have ids; counts repaired detections as `swaps`."""

    def __init__(self, skeleton: str, context: ComponentContext) -> None:
        self._context = context
        self._pairs = np.array(skeletons.skeleton_named(skeleton).flip_pairs)
        self._hypotheses = _hypotheses(skeleton)
        self._motions: dict[str | None, _Motion] = {}

    def update(self, frame: KeypointFrame) -> KeypointFrame:
        """The frame with its mix-ups repaired."""
        now_ns = frame.header.captured_ns
        oldest_ns = now_ns - round(MAX_AGE_S * 1e9)
        self._motions = {
            id: motion for id, motion in self._motions.items() if motion.last_ns.max() >= oldest_ns
        }
        return replace(frame, persons=tuple([self._repair(person, now_ns) for person in frame.persons]))

    def _repair(self, person: Keypoints, now_ns: int) -> Keypoints:
        motion = self._motions.get(person.id)
        repaired = person
        if motion is not None:
            swapped = self._swapped_pairs(motion, person, now_ns)
            start_ns = np.where(motion.repair_start_ns, motion.repair_start_ns, now_ns)
            motion.repair_start_ns = np.where(swapped, start_ns, 0)
            if (swapped & (now_ns - motion.repair_start_ns > MAX_REPAIR_S * 1e9)).any():
                motion = None
            elif swapped.any():
                repaired = _swap(person, self._pairs[swapped])
                self._context.health.increment(self._context.name, "swaps")
        if motion is None:
            motion = self._motions[person.id] = _Motion.unknown(len(person.xy), len(self._pairs))
        motion.update(repaired, now_ns)
        return repaired

    def _swapped_pairs(self, motion: _Motion, person: Keypoints, now_ns: int) -> Mask:
        """The pairs (P,) that are mixed up in the hypothesis that explains the frame best."""
        age_s = (now_ns - motion.last_ns[:, None]) / 1e9  # (J, 1)
        recent = ((age_s > 0) & (age_s <= MAX_AGE_S))[:, 0]
        expected = motion.xy + age_s * motion.velocity
        left, right = self._pairs.T
        sigma = POSITION_SIGMA + POSITION_SIGMA_PER_S2 * np.square(np.clip(age_s, 0, MAX_AGE_S))
        sigma_px = sigma * motion.size  # (J, 1)

        def cost(joints: NDArray[np.intp], expected_joints: NDArray[np.intp]) -> F64:
            deviation = (person.xy[joints] - expected[expected_joints]) / sigma_px[expected_joints]
            distance = np.square(deviation).sum(axis=1) / 2
            return np.where(_detected(person)[joints], np.minimum(np.nan_to_num(distance), MAX_COST), 0.0)

        straight = cost(left, left) + cost(right, right)
        crossed = cost(left, right) + cost(right, left)
        gain = np.where(recent[left] & recent[right], straight - crossed, 0.0)
        gains = self._hypotheses @ gain
        best = int(gains.argmax())
        swapped: Mask = self._hypotheses[best] & (gains[best] > MIN_GAIN)
        return swapped


def _hypotheses(skeleton: str) -> Mask:
    """(H, P): the pairs that may be mixed up together: all, those of a limb, a single pair."""
    layout = skeletons.skeleton_named(skeleton)
    pair_of = {joint: index for index, pair in enumerate(layout.flip_pairs) for joint in pair}
    limbs: dict[int, list[int]] = {}
    for index, (joint, _) in enumerate(layout.flip_pairs):
        while layout.parents[joint] in pair_of:
            joint = layout.parents[joint]
        limbs.setdefault(pair_of[joint], []).append(index)
    pairs = len(layout.flip_pairs)
    groups = [list(range(pairs)), *limbs.values(), *([index] for index in range(pairs))]
    hypotheses = np.zeros((len(groups), pairs), np.bool_)
    for row, group in zip(hypotheses, groups, strict=True):
        row[group] = True
    return hypotheses


def _swap(person: Keypoints, pairs: NDArray[np.intp]) -> Keypoints:
    """The person with the joints of these pairs (N, 2) exchanged."""
    left, right = pairs.T
    order = np.arange(len(person.score))
    order[left], order[right] = right, left
    return replace(person, xy=person.xy[order], score=person.score[order])


def _detected(person: Keypoints) -> Mask:
    """Joints (J,) with a finite position and a score above 0."""
    detected: Mask = np.isfinite(person.xy).all(axis=1) & (person.score > 0)
    return detected
