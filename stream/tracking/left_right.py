"""A detector's momentary mix-ups of left and right, undone where the moments before tell.

A whole person, both arms, both legs or one pair of joints may be the wrong way round. Each joint is
expected where its speed takes it; what explains the new frame best wins, and a mix-up must explain it
much better. A joint not seen a moment ago expects nothing, so nobody is turned by force, and a
person who stays the other way round is believed.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream import skeletons
from stream.messages import I64, KeypointFrame, Keypoints
from stream.protocols import ComponentContext

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Nobody turns by a quarter within this time, so within it a side that jumps is a mix-up.
_LONGEST_S = 0.12
_HOLD_S = 0.5  # a mix-up that lasts longer is taken for the truth
_SPEED_S = 0.05  # speed is averaged over about this time
# How far a joint may be from where it is expected, in body sizes; the longer ago, the further it may have
# sped up. This growth is what leaves people alone who are seen 12 times a second.
_REACH, _REACH_PER_S2 = 0.025, 10.0
_CAP = 8.0  # a joint this unlikely (in halved squared reaches) is simply wrong
_NEVER_NS = -(2**62)
_PRICE = 6.0  # by how much a mix-up must be the better story


@dataclass(slots=True)
class _Person:
    """xy (J, 2) px, joints when last seen; speed (J, 2) px/s; since_ns (P,) a pair is repaired, or 0."""

    xy: F64
    speed: F64
    seen_ns: I64
    since_ns: I64
    size: float = 0.0

    def follow(self, person: Keypoints, now_ns: int) -> None:
        seen = _seen(person)
        since_s = (now_ns - self.seen_ns[seen, None]) / 1e9
        moved = person.xy[seen] - self.xy[seen]
        going = (since_s > 0) & (since_s <= _LONGEST_S)
        speed = self.speed[seen] + (moved - since_s * self.speed[seen]) / (np.abs(since_s) + _SPEED_S)
        self.speed[seen] = np.where(going, speed, 0.0)
        self.xy[seen] = person.xy[seen]
        self.seen_ns[seen] = now_ns
        if seen.any():
            box = float(np.hypot(*np.ptp(person.xy[seen], axis=0)))
            self.size = max(box, 0.9 * self.size, 8.0)  # a half hidden body has not shrunk


class LeftRightRepair:
    """Repairs the keypoints of one camera's people, who all have an id; counts repaired poses as `swaps`."""

    def __init__(self, skeleton: str, context: ComponentContext) -> None:
        self._context = context
        self._pairs = np.array(skeletons.skeleton_named(skeleton).flip_pairs)
        self._stories = _stories(skeleton)
        self._people: dict[str | None, _Person] = {}

    def update(self, frame: KeypointFrame) -> KeypointFrame:
        now_ns = frame.header.captured_ns
        recent = now_ns - round(_LONGEST_S * 1e9)
        self._people = {id: each for id, each in self._people.items() if each.seen_ns.max() >= recent}
        return replace(frame, persons=tuple(self._repair(person, now_ns) for person in frame.persons))

    def _repair(self, person: Keypoints, now_ns: int) -> Keypoints:
        known = self._people.get(person.id)
        repaired = person
        if known is not None:
            swapped = self._swapped(known, person, now_ns)
            known.since_ns = np.where(swapped, np.where(known.since_ns, known.since_ns, now_ns), 0)
            if (swapped & (now_ns - known.since_ns > _HOLD_S * 1e9)).any():
                known = None
            elif swapped.any():
                repaired = _exchanged(person, self._pairs[swapped])
                self._context.health.increment(self._context.name, "swaps")
        if known is None:
            joints, pairs = len(person.xy), len(self._pairs)
            nowhere, never = np.zeros((joints, 2)), np.full(joints, _NEVER_NS)
            known = _Person(nowhere, nowhere.copy(), never, np.zeros(pairs, np.int64))
            self._people[person.id] = known
        known.follow(repaired, now_ns)
        return repaired

    def _swapped(self, known: _Person, person: Keypoints, now_ns: int) -> Mask:
        """Which pairs (P,) are the wrong way round in the story that explains the frame best."""
        since_s = (now_ns - known.seen_ns[:, None]) / 1e9
        fresh = ((since_s > 0) & (since_s <= _LONGEST_S))[:, 0]
        expected = known.xy + since_s * known.speed
        left, right = self._pairs.T
        reach = (_REACH + _REACH_PER_S2 * np.square(np.clip(since_s, 0, _LONGEST_S))) * known.size  # (J, 1)

        def cost(here: NDArray[np.intp], there: NDArray[np.intp]) -> F64:
            away = np.square((person.xy[here] - expected[there]) / reach[there]).sum(axis=1) / 2
            return np.where(_seen(person)[here], np.minimum(np.nan_to_num(away), _CAP), 0.0)

        straight = cost(left, left) + cost(right, right)
        crossed = cost(left, right) + cost(right, left)
        gain = np.where(fresh[left] & fresh[right], straight - crossed, 0.0)
        stories = self._stories @ gain
        best = int(stories.argmax())
        return self._stories[best] & (stories[best] > _PRICE)


def _stories(skeleton: str) -> Mask:
    """(S, P): the pairs that may be the wrong way round together: all, a limb's, one."""
    layout = skeletons.skeleton_named(skeleton)
    pair_of = {joint: index for index, pair in enumerate(layout.flip_pairs) for joint in pair}
    limbs: dict[int, list[int]] = {}
    for index, (joint, _) in enumerate(layout.flip_pairs):
        while layout.parents[joint] in pair_of:
            joint = layout.parents[joint]
        limbs.setdefault(pair_of[joint], []).append(index)
    pairs = len(layout.flip_pairs)
    groups = [list(range(pairs)), *limbs.values(), *([index] for index in range(pairs))]
    stories = np.zeros((len(groups), pairs), np.bool_)
    for row, group in zip(stories, groups, strict=True):
        row[group] = True
    return stories


def _exchanged(person: Keypoints, pairs: NDArray[np.intp]) -> Keypoints:
    left, right = pairs.T
    order = np.arange(len(person.score))
    order[left], order[right] = right, left
    return replace(person, xy=person.xy[order], score=person.score[order])


def _seen(person: Keypoints) -> Mask:
    seen: Mask = np.isfinite(person.xy).all(axis=1) & (person.score > 0)
    return seen
