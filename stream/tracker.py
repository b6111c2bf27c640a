"""Who is who from frame to frame: a stable id for every person one camera sees."""

import secrets
import string
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray

from stream.messages import F32, KeypointFrame, Keypoints

# How far a joint may be from where it was expected, in body sizes, to count as 0.6 of a match. Well above
# what a step, a turn or a bad detection moves it; neighbours in a group are further apart than twice this.
_REACH = 0.12
_LEAST_MATCH = 0.1
_VELOCITY_S = 0.1  # velocity is averaged over about this time
_COAST_S = 0.3  # an unseen person is expected to go on this long, and then to stand


@dataclass(slots=True)
class _Track:
    """xy (J, 2) px: where each joint was last seen or expected; velocity (2,) px/s; size px of the body."""

    id: str
    xy: F32
    velocity: F32
    size: float
    seen_ns: int

    def expected(self, now_ns: int) -> F32:
        gone_s = max(0, now_ns - self.seen_ns) / 1e9
        moved: F32 = self.xy + self.velocity * np.float32(_COAST_S * (1 - np.exp(-gone_s / _COAST_S)))
        return moved

    def follow(self, person: Keypoints, now_ns: int) -> None:
        seen, expected = _seen(person), self.expected(now_ns)
        both = seen & np.isfinite(self.xy).all(axis=1)
        since_s = (now_ns - self.seen_ns) / 1e9
        if since_s > 0 and both.any():
            velocity = (person.xy[both] - self.xy[both]).mean(axis=0) / since_s
            self.velocity += (velocity - self.velocity) * (since_s / (since_s + _VELOCITY_S))
        self.xy = np.where(seen[:, None], person.xy, expected).astype(np.float32)
        self.size = max(_size(person.xy[seen]), 0.9 * self.size)  # a half hidden body has not shrunk
        self.seen_ns = max(now_ns, self.seen_ns)


class Tracker:
    """Gives every person an id of five characters, first a letter, never used twice in a run.

    A person is matched to the known one whose joints, moved on at their speed, lie nearest in units of
    body size, nearest pairs first. Someone not seen for `max_missing_s` comes back as somebody new. Ids
    that a person already has are kept. `seed` makes the ids repeatable.
    """

    def __init__(self, seed: int | None = None, max_missing_s: float = 1.0) -> None:
        self._random = Random(secrets.randbits(64) if seed is None else seed)
        self._max_missing_ns = round(max_missing_s * 1e9)
        self._tracks: list[_Track] = []
        self._used: set[str] = set()

    def update(self, frame: KeypointFrame) -> KeypointFrame:
        """The frame with an id for everybody; persons without a single joint are left out.

        All frames must have the same skeleton.
        """
        now_ns = frame.header.captured_ns
        self._tracks = [track for track in self._tracks if now_ns - track.seen_ns <= self._max_missing_ns]
        persons = [person for person in frame.persons if _seen(person).any()]
        self._used.update(person.id for person in persons if person.id is not None)
        nameless = [index for index, person in enumerate(persons) if person.id is None]
        matches = self._match([persons[index] for index in nameless], now_ns)
        for index, track in zip(nameless, matches, strict=True):
            person = persons[index]
            if track is None:
                xy = person.xy.copy()
                seen = _seen(person)
                xy[~seen] = np.nan
                track = _Track(self._new_id(), xy, np.zeros(2, np.float32), _size(xy[seen]), now_ns)
                self._tracks.append(track)
            else:
                track.follow(person, now_ns)
            persons[index] = replace(person, id=track.id)
        return replace(frame, persons=tuple(persons))

    def _match(self, persons: list[Keypoints], now_ns: int) -> list[_Track | None]:
        """For each person the track it continues, best pairs first."""
        found: list[_Track | None] = [None] * len(persons)
        if not persons or not self._tracks:
            return found
        tracks = list(self._tracks)
        score = _likeness(persons, tracks, now_ns)
        while score.max() > _LEAST_MATCH:
            row, column = np.unravel_index(int(score.argmax()), score.shape)
            found[row] = tracks[column]
            score[row, :] = score[:, column] = 0
        return found

    def _new_id(self) -> str:
        while True:
            tail = self._random.choices(string.ascii_lowercase + string.digits, k=4)
            new = self._random.choice(string.ascii_lowercase) + "".join(tail)
            if new not in self._used:
                self._used.add(new)
                return new


def _seen(person: Keypoints) -> NDArray[np.bool_]:
    seen: NDArray[np.bool_] = np.isfinite(person.xy).all(axis=1) & (person.score > 0)
    return seen


def _size(xy: F32) -> float:
    """Diagonal of the box around xy (n, 2), at least a few pixels."""
    return max(float(np.hypot(*np.ptp(xy, axis=0))), 8.0)


def _likeness(persons: list[Keypoints], tracks: list[_Track], now_ns: int) -> NDArray[np.float64]:
    """(P, T) in 0..1: object keypoint similarity, with one tolerance, over the joints both have."""
    there = [np.where(_seen(person)[:, None], person.xy, np.nan) for person in persons]
    expected = np.stack([track.expected(now_ns) for track in tracks])
    away = np.linalg.norm(np.stack(there)[:, None] - expected, axis=3)  # (P, T, J)
    here = np.array([_size(person.xy[_seen(person)]) for person in persons])
    reach = _REACH * np.maximum(here[:, None], [track.size for track in tracks])
    like = np.exp(-0.5 * (away / reach[..., None]) ** 2)  # NaN where one of them lacks the joint
    both = np.isfinite(like)
    total: NDArray[np.float64] = np.where(both, like, 0).sum(axis=2) / np.maximum(both.sum(axis=2), 1)
    return total
