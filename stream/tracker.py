"""Who is who from frame to frame: a stable id for every person one camera sees."""

import secrets
import string
from collections import deque
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError
from stream.messages import F32, KeypointFrame, Keypoints

F64 = NDArray[np.float64]

# What a match may differ by, as standard deviations that grow with the seconds since the last sighting: the
# middle of the body in body sizes, each joint around it in body sizes, the logarithm of apparent size. The
# first is for motion, the last for telling the nearer of two who cross from the farther.
_MIDDLE, _MIDDLE_PER_S, _MIDDLE_PER_S_AT_FIRST = 0.04, 0.3, 0.9  # at first the speed is not known
_JOINT, _JOINT_PER_S = 0.06, 0.1
_SCALE, _SCALE_PER_S = 0.06, 0.05
_LEAST_MATCH = 0.01  # of 1
_VELOCITY_S = 0.25  # velocity is averaged over about this time
_COAST_S = 1.0  # an unseen person is expected to go on about this long, and then to stand
_SETTLED_S = 0.3  # over which joints are averaged to tell motion from noise
_KEEP = 1.25  # so much larger must somebody be than who was chosen, to be chosen instead


class TrackerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """persons: all, largest, or a number: at most so many, the largest ones.

    max_missing_s: how long somebody may be unseen and still come back under the same id, in seconds.
    birth_frames: sightings, within two frames more, that make a detection a person; before, it is not
    published. Of a file nothing is lost by it: a person is published from the first sighting.
    min_motion: how far the joints must have moved on average (root mean square) since the first sighting,
    in body sizes, before somebody is published: 0.05 leaves a poster on the wall out, 0 nobody.
    """

    persons: Literal["all", "largest"] | int = "all"
    max_missing_s: float = 1.0
    birth_frames: int = 3
    min_motion: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.persons, int) and self.persons < 1:
            raise ConfigError(f"people.persons: expected all, largest or a number from 1, got {self.persons}")
        if self.birth_frames < 1:
            raise ConfigError(f"people.birth_frames: expected a number from 1, got {self.birth_frames}")
        if self.max_missing_s < 0 or self.min_motion < 0:
            raise ConfigError(
                "people: expected max_missing_s and min_motion from 0, "
                f"got max_missing_s {self.max_missing_s}, min_motion {self.min_motion}"
            )


@dataclass(slots=True, eq=False)
class _Track:
    """xy (J, 2) px: where each joint was last seen, NaN if never; velocity (2,) px/s.

    id: None until published, unless `given` by the source; sightings: numbers of the frames that may lead
    to birth; first and settled (J, 2) px: where joints were at first and are on average.
    """

    xy: F32
    seen_ns: int
    id: str | None
    given: bool
    velocity: F32 = field(default_factory=lambda: np.zeros(2, np.float32))
    steps: int = 0
    sightings: list[int] = field(default_factory=list)
    born: bool = False
    moved: bool = False
    first: F32 = field(init=False)
    settled: F32 = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.settled = self.xy.copy(), self.xy.copy()

    @property
    def size(self) -> float:
        return _size(self.xy)

    def expected(self, now_ns: int) -> F32:
        gone_s = max(0, now_ns - self.seen_ns) / 1e9
        moved: F32 = self.xy + self.velocity * np.float32(_COAST_S * (1 - np.exp(-gone_s / _COAST_S)))
        return moved

    def follow(self, seen: F32, now_ns: int) -> None:
        """Go on at joints `seen` (J, 2) px, NaN where not seen."""
        step, since_s = seen - self.xy, max(0, now_ns - self.seen_ns) / 1e9
        there, both = np.isfinite(seen), np.isfinite(step[:, 0])
        if both.any():
            mean = step[both].mean(axis=0)
            self.xy = self.xy + mean  # joints not seen now go along with the others
            if since_s > 0:
                self.steps += 1
                weight = max(since_s / (since_s + _VELOCITY_S), 1 / self.steps)
                self.velocity = self.velocity + (mean / np.float32(since_s) - self.velocity) * np.float32(
                    weight
                )
        self.xy = np.where(there, seen, self.xy)
        self.seen_ns = max(now_ns, self.seen_ns)
        for known in (self.first, self.settled):
            np.copyto(known, seen, where=np.isnan(known))
        weight = since_s / (since_s + _SETTLED_S)
        self.settled += np.where(there, seen - self.settled, 0) * np.float32(weight)

    def motion(self) -> float:
        """Root mean square of the joints' way since the first sighting, in body sizes."""
        way = np.square(self.settled - self.first).sum(axis=1)
        return float(np.sqrt(np.nanmean(way))) / self.size


_Sightings = list[tuple[Keypoints, _Track]]


class Tracker:
    """Gives every person an id of five characters, first a letter, never used twice in a run.

    Detections are paired up with the known people in the way that is likeliest on the whole: by where each
    joint should be by now, in units of body size, and by apparent size. Ids that persons already have are
    kept. patient: hold frames back until it is known who in them is a person, so that nobody's beginning
    is lost (files). `seed` makes the ids repeatable.
    """

    def __init__(
        self, settings: TrackerSettings | None = None, seed: int | None = None, patient: bool = False
    ) -> None:
        self.settings = settings or TrackerSettings()
        self._random = Random(secrets.randbits(64) if seed is None else seed)
        self._within = self.settings.birth_frames + 2 if self.settings.birth_frames > 1 else 1
        self._patience = self._within - 1 if patient else 0
        self._max_missing_ns = round(self.settings.max_missing_s * 1e9)
        self._tracks: list[_Track] = []
        self._chosen: list[_Track] = []
        self._held: deque[tuple[KeypointFrame, _Sightings]] = deque()
        self._used: set[str] = set()
        self._count = 0

    def update(self, frame: KeypointFrame) -> list[KeypointFrame]:
        """The frames now known: `frame` itself unless patient, with the people in it and their ids.

        All frames must have the same skeleton.
        """
        self._count += 1
        self._held.append((frame, self._sight(frame)))
        return [self._release() for _ in range(len(self._held) - self._patience)]

    def end(self) -> list[KeypointFrame]:
        """The frames still held back; whoever began in the last of them is believed."""
        for track in self._tracks:
            track.born = track.born or self._count - track.sightings[0] < self._within
        return [self._release() for _ in range(len(self._held))]

    def _sight(self, frame: KeypointFrame) -> _Sightings:
        """Every detection with at least one joint, and whom it continues or begins."""
        now_ns = frame.header.captured_ns
        self._tracks = [track for track in self._tracks if self._remembers(track, now_ns)]
        persons = [(person, xy) for person in frame.persons if np.isfinite(xy := _seen(person)).any()]
        found: dict[int, _Track] = {}
        known = {track.id: track for track in self._tracks}
        for index, (person, xy) in enumerate(persons):
            if person.id is not None and person.id not in {track.id for track in found.values()}:
                found[index] = known.get(person.id) or self._begin(xy, now_ns, person.id)
                found[index].given = True
        nameless = [index for index in range(len(persons)) if index not in found]
        free = [track for track in self._tracks if not track.given]
        for row, column in _pairs([persons[index][1] for index in nameless], free, now_ns):
            found[nameless[row]] = free[column]
        sightings = []
        for index, (person, xy) in enumerate(persons):
            track = found[index] if index in found else self._begin(xy, now_ns, None)
            self._follow(track, xy, now_ns)
            sightings.append((person, track))
        return sightings

    def _remembers(self, track: _Track, now_ns: int) -> bool:
        if not track.born and self._count - track.sightings[-1] >= self._within:
            return False
        return now_ns - track.seen_ns <= self._max_missing_ns

    def _begin(self, xy: F32, now_ns: int, id: str | None) -> _Track:
        if id is not None:
            self._used.add(id)
        self._tracks.append(_Track(xy, now_ns, id, given=id is not None))
        return self._tracks[-1]

    def _follow(self, track: _Track, xy: F32, now_ns: int) -> None:
        track.follow(xy, now_ns)
        track.moved = track.moved or track.motion() >= self.settings.min_motion
        if not track.born:
            track.sightings = [at for at in track.sightings if self._count - at < self._within] + [
                self._count
            ]
            track.born = track.given or len(track.sightings) >= self.settings.birth_frames

    def _release(self) -> KeypointFrame:
        """The oldest frame held, with those of its people who are to be published."""
        frame, sightings = self._held.popleft()
        people = [(person, track) for person, track in sightings if track.born and track.moved]
        if self.settings.persons != "all":
            self._choose([track for _, track in people], frame.header.captured_ns)
            people = [(person, track) for person, track in people if track in self._chosen]
        for _, track in people:
            track.id = track.id or self._new_id()
        return replace(frame, persons=tuple(replace(person, id=track.id) for person, track in people))

    def _choose(self, here: list[_Track], now_ns: int) -> None:
        """Choose the largest. Who was chosen keeps the place while hidden, and from those hardly larger."""
        limit = 1 if self.settings.persons == "largest" else int(self.settings.persons)
        kept = [track for track in self._chosen if now_ns - track.seen_ns <= self._max_missing_ns]
        rank = {track: track.size for track in here} | {track: _KEEP * track.size for track in kept}
        self._chosen = sorted(rank, key=rank.__getitem__, reverse=True)[:limit]

    def _new_id(self) -> str:
        while True:
            tail = self._random.choices(string.ascii_lowercase + string.digits, k=4)
            new = self._random.choice(string.ascii_lowercase) + "".join(tail)
            if new not in self._used:
                self._used.add(new)
                return new


def _seen(person: Keypoints) -> F32:
    """Joints (J, 2) px, NaN where not seen."""
    seen = np.isfinite(person.xy).all(axis=1) & (person.score > 0)
    return np.where(seen[:, None], person.xy, np.float32(np.nan))


def _size(xy: F32) -> float:
    """Diagonal of the box around the known joints of xy (J, 2) px, at least a few pixels."""
    return max(float(np.hypot(*np.ptp(xy[np.isfinite(xy[:, 0])], axis=0))), 8.0)


def _pairs(persons: list[F32], tracks: list[_Track], now_ns: int) -> list[tuple[int, int]]:
    """(person, track) pairs of the likeliest way to pair them up, each no worse than the least match."""
    if not persons or not tracks:
        return []
    like = _likeness(persons, tracks, now_ns)
    gain = np.log(np.maximum(like, _LEAST_MATCH) / _LEAST_MATCH)
    return [(row, column) for row, column in assign(-gain) if gain[row, column] > 0]


def _likeness(persons: list[F32], tracks: list[_Track], now_ns: int) -> F64:
    """(P, T) in 0..1, over the joints both have: object keypoint similarity, times how well the middle is
    where it was expected and the extent what it was."""
    seen = np.stack(persons)[:, None]  # (P, 1, J, 2)
    expected = np.stack([track.expected(now_ns) for track in tracks])  # (T, J, 2)
    gone_s = np.array([max(0, now_ns - track.seen_ns) for track in tracks]) / 1e9
    size = np.maximum(np.array([_size(xy) for xy in persons])[:, None], [track.size for track in tracks])
    off = (seen - expected) / size[..., None, None]  # (P, T, J, 2), NaN where one of them lacks the joint
    both = np.isfinite(off[..., 0])
    count = both.sum(axis=2)
    off, count = np.where(both[..., None], off, 0), np.maximum(count, 1)
    middle = off.sum(axis=2) / count[..., None]
    away = np.square(off - middle[:, :, None]).sum(axis=3) / (_JOINT + _JOINT_PER_S * gone_s)[:, None] ** 2
    shape = np.where(both, np.exp(-0.5 * away), 0).sum(axis=2) / count
    scale = np.log(_extent(seen, both, count) / _extent(expected, both, count))
    scale[count < 4] = 0
    speed = np.where([track.steps > 0 for track in tracks], _MIDDLE_PER_S, _MIDDLE_PER_S_AT_FIRST)
    spread = _MIDDLE + speed * gone_s
    off_by = np.square(middle).sum(axis=2) / spread**2 + (scale / (_SCALE + _SCALE_PER_S * gone_s)) ** 2
    # Of two guesses that fit alike, the vaguer one is the less likely.
    like: F64 = shape * np.exp(-0.5 * off_by) * _MIDDLE / spread
    return like


def _extent(xy: F32, both: NDArray[np.bool_], count: NDArray[np.int64]) -> F64:
    """Root mean square distance (P, T) of joints xy (P or 1, T or 1, J, 2) from their middle."""
    xy = np.where(both[..., None], xy, 0)
    middle = xy.sum(axis=2) / count[..., None]
    square = np.square(xy).sum(axis=(2, 3)) / count - np.square(middle).sum(axis=2)
    extent: F64 = np.sqrt(np.maximum(square, 1.0))
    return extent


def assign(cost: F64) -> list[tuple[int, int]]:
    """(row, column) pairs, as many as the shorter side of cost (N, M), that cost least in sum.

    The Hungarian method: rows come one by one, each along the cheapest path of exchanges.
    """
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in assign(cost.T))
    rows, columns = cost.shape
    best = cost.argmin(axis=1)
    if len(set(best.tolist())) == rows:  # nobody disputes anybody's best
        return list(enumerate(best.tolist()))
    of_row, of_column = np.zeros(rows), np.zeros(columns)  # what each must at least pay
    owner = np.full(columns, -1)
    for start in range(rows):
        shortest, before = np.full(columns, np.inf), np.full(columns, -1)
        done = np.zeros(columns, bool)
        row, paid, last = start, 0.0, -1
        while row >= 0:
            through = paid + cost[row] - of_row[row] - of_column
            better = ~done & (through < shortest)
            shortest[better], before[better] = through[better], last
            last = int(np.where(done, np.inf, shortest).argmin())
            done[last], paid, row = True, shortest[last], int(owner[last])
        of_row[start] += paid
        for column in np.flatnonzero(done & (owner >= 0)):
            of_row[owner[column]] += paid - shortest[column]
        of_column[done] -= paid - shortest[done]
        while last >= 0:
            owner[last] = owner[before[last]] if before[last] >= 0 else start
            last = int(before[last])
    return sorted((int(owner[column]), int(column)) for column in np.flatnonzero(owner >= 0))
