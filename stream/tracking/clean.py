"""Keypoints as the lifter needs them: in its skeleton, without joints that are too weak or too far out."""

from dataclasses import replace

import numpy as np

from stream import skeletons
from stream.health import Health
from stream.messages import KeypointFrame, Keypoints, Mask

MAX_IMAGE_SIDES = 10  # coordinates further out count as missing: they would overflow the lifter's input


class Cleaner:
    """Converts keypoint frames to `skeleton` and masks joints; counts joints too far out as `far_joints`.

    min_score: a joint with a lower score after the conversion counts as missing.
    """

    def __init__(self, skeleton: str, min_score: float, health: Health) -> None:
        self._skeleton = skeleton
        self._min_score = min_score
        self._health = health

    def clean(self, frame: KeypointFrame) -> KeypointFrame:
        """The cleaned frame; `frame` itself when nothing changes. Raises as `skeletons.convert`."""
        limit_px = MAX_IMAGE_SIDES * max(frame.size_wh)
        if self._is_clean(frame, limit_px):
            return frame
        persons = tuple([self._clean_person(person, frame, limit_px) for person in frame.persons])
        if all(cleaned is person for cleaned, person in zip(persons, frame.persons, strict=True)):
            return frame
        return replace(frame, skeleton=self._skeleton, persons=persons)

    def _is_clean(self, frame: KeypointFrame, limit_px: int) -> bool:
        """Fast accept: one look at the arrays of all persons. False means undecided, look at each person."""
        persons = frame.persons
        if frame.skeleton != self._skeleton or not all(person.complete for person in persons):
            return False
        shape = (len(skeletons.skeleton_named(self._skeleton).joints), 2)
        if not persons or any(person.xy.shape != shape for person in persons):
            return not persons
        if len(persons) == 1:  # for the few joints of a person lists are faster than arrays
            px, score = persons[0].xy.ravel().tolist(), persons[0].score.tolist()
            return max(px) <= limit_px and min(px) >= -limit_px and min(score) >= self._min_score
        xy = np.array([person.xy for person in persons])
        highest, lowest = np.maximum.reduce(xy, None), np.minimum.reduce(xy, None)
        lowest_score = np.minimum.reduce([person.score for person in persons], None)
        return bool(highest <= limit_px and lowest >= -limit_px and lowest_score >= self._min_score)

    def _clean_person(self, person: Keypoints, frame: KeypointFrame, limit_px: int) -> Keypoints:
        far = np.abs(person.xy) > limit_px
        if np.count_nonzero(far):
            far_joints: Mask = np.logical_or.reduce(far, axis=1)
            self._health.increment(frame.header.source, "far_joints", int(far_joints.sum()))
            person = mask_joints(person, far_joints)
        converted = skeletons.convert(person, frame.skeleton, self._skeleton)
        if converted is not person and (face := skeletons.face_points(person, frame.skeleton)) is not None:
            converted = replace(converted, face=face)
        weak: Mask = converted.score < self._min_score
        return mask_joints(converted, weak) if np.count_nonzero(weak) else converted


def mask_joints(person: Keypoints, joints: Mask) -> Keypoints:
    """The person with these joints (J,) missing: NaN with score 0."""
    xy, score = person.xy.copy(), person.score.copy()
    xy[joints], score[joints] = np.nan, 0.0
    return replace(person, xy=xy, score=score)
