"""Who is who from frame to frame: a stable id for every person one camera sees."""

import secrets
import string
from collections import deque
from collections.abc import Collection
from dataclasses import replace
from random import Random
from typing import Literal

import msgspec
import numpy as np

from stream.errors import ConfigError
from stream.messages import F32, KeypointFrame, Keypoints
from stream.tracking.association import associate
from stream.tracking.track import Track, joints_seen

_KEEP = 1.25  # so much larger must somebody be than who was chosen, to be chosen instead


_Sightings = list[tuple[Keypoints, Track]]


class Tracker:
    """Gives every person an id of five characters, first a letter, never used twice in a run.

    Detections are paired up with the known people in the way that is likeliest on the whole: by where each
    joint should be by now, in units of body size, and by apparent size. Ids that persons already have are
    kept. max_missing_s: how long somebody may be unseen and still come back under the same id.
    patient: hold frames back until it is known who in them is a person, so that nobody's beginning
    is lost (files). `seed` makes the ids repeatable.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Section `tracking` of a config: which persons are lifted.

        persons: Persons to lift: all, largest, or the maximum number, of which the largest are chosen.

        confirm_frames: Detections, within two more frames than that, after which a person is published. A
        file loses no frames: a confirmed person is published from the first detection.

        min_motion: Mean motion of the joints (root mean square) since the first detection, in body sizes,
        before a person is published. 0.05 ignores posters on the wall; 0 publishes every person.

        fix_left_right: Repair short left/right mix-ups of the detector.
        """

        persons: Literal["all", "largest"] | int = "all"
        confirm_frames: int = 3
        min_motion: float = 0.0
        fix_left_right: bool = False

        def __post_init__(self) -> None:
            if isinstance(self.persons, int) and self.persons < 1:
                raise ConfigError(
                    f"tracking.persons: expected all, largest or a number from 1, got {self.persons}"
                )
            if self.confirm_frames < 1:
                raise ConfigError(
                    f"tracking.confirm_frames: expected a number from 1, got {self.confirm_frames}"
                )
            if self.min_motion < 0:
                raise ConfigError(f"tracking.min_motion: expected a number from 0, got {self.min_motion}")

    def __init__(
        self,
        settings: Settings | None = None,
        max_missing_s: float = 1.0,
        seed: int | None = None,
        patient: bool = False,
    ) -> None:
        self.settings = settings or self.Settings()
        self._random = Random(secrets.randbits(64) if seed is None else seed)
        self._within = self.settings.confirm_frames + 2 if self.settings.confirm_frames > 1 else 1
        self._patience = self._within - 1 if patient else 0
        self._max_missing_ns = round(max_missing_s * 1e9)
        self._tracks: list[Track] = []
        self._chosen: list[Track] = []
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

    def forget(self, lost: Collection[str]) -> None:
        """Never use these ids again: who is seen again gets another, unless the source gives the ids."""
        for track in {*self._tracks, *(track for _, held in self._held for _, track in held)} if lost else ():
            if track.id in lost and not track.given:
                track.id = None

    def restart(self) -> None:
        """Forget everybody; the next frame has nothing to do with those before."""
        self._tracks, self._chosen = [], []

    def _sight(self, frame: KeypointFrame) -> _Sightings:
        """Every detection with at least one joint, and whom it continues or begins."""
        now_ns = frame.header.captured_ns
        self._tracks = [track for track in self._tracks if self._remembers(track, now_ns)]
        persons = [(person, joints_seen(person)) for person in frame.persons]
        persons = [(person, xy) for person, xy in persons if np.count_nonzero(np.isfinite(xy))]
        found: dict[int, Track] = {}
        known = {track.id: track for track in self._tracks}
        for index, (person, xy) in enumerate(persons):
            if person.id is not None and person.id not in {track.id for track in found.values()}:
                found[index] = known.get(person.id) or self._begin(xy, now_ns, person.id)
                found[index].given = True
        nameless = [index for index in range(len(persons)) if index not in found]
        free = [track for track in self._tracks if not track.given]
        for row, column in associate([persons[index][1] for index in nameless], free, now_ns):
            found[nameless[row]] = free[column]
        sightings = []
        for index, (person, xy) in enumerate(persons):
            track = found[index] if index in found else self._begin(xy, now_ns, None)
            self._follow(track, xy, now_ns)
            sightings.append((person, track))
        return sightings

    def _remembers(self, track: Track, now_ns: int) -> bool:
        if not track.born and self._count - track.sightings[-1] >= self._within:
            return False
        return now_ns - track.seen_ns <= self._max_missing_ns

    def _begin(self, xy: F32, now_ns: int, id: str | None) -> Track:
        if id is not None:
            self._used.add(id)
        self._tracks.append(Track(xy, now_ns, id, given=id is not None))
        return self._tracks[-1]

    def _follow(self, track: Track, xy: F32, now_ns: int) -> None:
        track.follow(xy, now_ns)
        track.moved = (
            track.moved or not self.settings.min_motion or track.motion() >= self.settings.min_motion
        )
        if not track.born:
            track.sightings.append(self._count)
            track.sightings = [at for at in track.sightings if self._count - at < self._within]
            track.born = track.given or len(track.sightings) >= self.settings.confirm_frames

    def _release(self) -> KeypointFrame:
        """The oldest frame held, with those of its people who are to be published."""
        frame, sightings = self._held.popleft()
        people = [(person, track) for person, track in sightings if track.born and track.moved]
        if self.settings.persons != "all":
            self._choose([track for _, track in people], frame.header.captured_ns)
            people = [(person, track) for person, track in people if track in self._chosen]
        for _, track in people:
            track.id = track.id or self._new_id()
        persons = tuple(
            [
                person if person.id == track.id else Keypoints(person.xy, person.score, track.id)
                for person, track in people
            ]
        )
        return replace(frame, persons=persons) if persons != frame.persons else frame

    def _choose(self, here: list[Track], now_ns: int) -> None:
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
