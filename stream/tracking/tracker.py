"""A stable id from frame to frame for every person that one camera detects."""

import secrets
import string
from collections import deque
from collections.abc import Collection
from random import Random
from typing import Literal

import msgspec
import numpy as np

from stream.errors import ConfigError
from stream.messages import F32, KeypointFrame, Keypoints
from stream.tracking.association import associate
from stream.tracking.people_limit import MAX_PEOPLE, PeopleLimit
from stream.tracking.track import Track, detected_joints, update_tracks

SELECTION_HYSTERESIS = 1.25  # a challenger must be 25 % larger to replace a selected person
MAX_TRACKS = 2 * MAX_PEOPLE  # of a live camera, unconfirmed ones included: bounds the time of association
MAX_USED_IDS = 10_000
_CONFIRM_SLACK = 2  # frames without a detection that may lie between the sightings that confirm a person

_Detections = list[tuple[Keypoints, Track]]


class Tracker:
    """Gives every person an id of five characters, the first a letter, none of the last 10 000.

    Detections are associated with tracks so that the total similarity is largest: by the expected position of
    each joint, in units of body size, and by apparent size. Ids given by the source are kept.

    max_missing_s: how long a person may be missing and still keep the id. lookahead: hold frames back until
    all their people are confirmed, so that a person's first frames are not lost (files). seed: makes the ids
    repeatable. limit: bounds the people and tracks of a live source; shared by its cameras.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Section `tracking` of a config: which persons are lifted.

        persons: Persons to lift: all, largest, or the maximum number, of which the largest are chosen.

        confirm_frames: Detections, within two more frames than that, after which a person is published. A
        file loses no frames: a confirmed person is published from the first detection.

        min_motion: Mean motion of the joints (root mean square) since the first detection, in body sizes,
        before a person is published. 0.05 ignores posters on the wall; 0 publishes every person.

        fix_left_right: Repair left and right where the detector exchanges them, from motion, trunk and face.
        Poses report the repaired joints as `repaired`. auto: in cameras and videos, whose detector runs here;
        keypoints of other programs are left as they are. `poselift lift` repairs these, too.
        """

        persons: Literal["all", "largest"] | int = "all"
        confirm_frames: int = 3
        min_motion: float = 0.0
        fix_left_right: bool | Literal["auto"] = "auto"

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
        lookahead: bool = False,
        limit: PeopleLimit | None = None,
    ) -> None:
        self.settings = settings or self.Settings()
        self._random = Random(secrets.randbits(64) if seed is None else seed)
        confirm_frames = self.settings.confirm_frames
        self._confirm_window = confirm_frames + _CONFIRM_SLACK if confirm_frames > 1 else 1  # frames
        self._lookahead = self._confirm_window - 1 if lookahead else 0  # frames
        self._max_missing_ns = round(max_missing_s * 1e9)
        self._tracks: list[Track] = []
        self._selected: list[Track] = []
        self._held: deque[tuple[KeypointFrame, _Detections]] = deque()
        self._used_ids: dict[str, None] = {}  # the newest last
        self._limit = limit
        self.unconfirmed_ids = 0  # ids of the source that were gone before they were confirmed
        self.ignored_people = 0  # detections above a limit
        self._frame_count = 0

    def update(self, frame: KeypointFrame) -> list[KeypointFrame]:
        """Track the people of `frame`; returns the frames that are complete, whose persons all have ids.

        That is `frame` itself without look-ahead, and an earlier frame, or none, with it. All frames must
        have the same skeleton.
        """
        self._frame_count += 1
        self._held.append((frame, self._associate(frame)))
        return [self._emit() for _ in range(len(self._held) - self._lookahead)]

    def flush(self) -> list[KeypointFrame]:
        """The frames still held back; people who first appeared in the last frames count as confirmed."""
        for track in self._tracks:
            recent = self._frame_count - track.sightings[0] < self._confirm_window
            track.confirmed = track.confirmed or recent
        return [self._emit() for _ in range(len(self._held))]

    def forget(self, ids: Collection[str]) -> None:
        """Never give these ids again: the same people get new ids, unless the source gives the ids."""
        if not ids:
            return
        for track in {*self._tracks, *(track for _, detections in self._held for _, track in detections)}:
            if track.id in ids and not track.external_id:
                track.id = None

    def restart(self) -> None:
        """Drop all tracks; the next frame has nothing to do with the frames before."""
        self._tracks, self._selected = [], []

    def _associate(self, frame: KeypointFrame) -> _Detections:
        """Every detection with at least one joint, and the track it continues or starts."""
        now_ns = frame.header.captured_ns
        alive = [track for track in self._tracks if self._is_alive(track, now_ns)]
        if len(alive) != len(self._tracks):
            self.unconfirmed_ids += sum(
                track.external_id and not track.confirmed for track in {*self._tracks}.difference(alive)
            )
        self._tracks = alive
        if self._limit is not None:
            self._limit.update(id(self), sum([track.confirmed for track in alive]), now_ns)
        persons = [(person, detected_joints(person)) for person in frame.persons]
        persons = [
            (person, xy) for person, xy in persons if person.complete or np.count_nonzero(np.isfinite(xy))
        ]
        track_of = self._associate_by_id(persons, now_ns)
        unnamed = [index for index in range(len(persons)) if index not in track_of]
        free = [track for track in self._tracks if not track.external_id]
        for row, column in associate([persons[index][1] for index in unnamed], free, now_ns):
            track_of[unnamed[row]] = free[column]
        detections, joints = [], []
        for index, (person, xy) in enumerate(persons):
            track = track_of[index] if index in track_of else self._start(xy, now_ns, None)
            if track is not None:
                detections.append((person, track))
                joints.append(xy)
        update_tracks([track for _, track in detections], joints, now_ns)
        for _, track in detections:
            self._confirm(track, now_ns)
        return detections

    def _associate_by_id(self, persons: list[tuple[Keypoints, F32]], now_ns: int) -> dict[int, Track | None]:
        """Tracks, by index, of the persons with an id from the source; of several with one id the first.

        None for a person above the limit of tracks.
        """
        track_of: dict[int, Track | None] = {}
        if all(person.id is None for person, _ in persons):
            return track_of
        known_tracks = {track.id: track for track in self._tracks}
        for index, (person, xy) in enumerate(persons):
            if person.id is not None and person.id not in {track.id for track in track_of.values() if track}:
                track = known_tracks.get(person.id) or self._start(xy, now_ns, person.id)
                track_of[index] = track
                if track is not None:
                    track.external_id = True
        return track_of

    def _is_alive(self, track: Track, now_ns: int) -> bool:
        if not track.confirmed and self._frame_count - track.sightings[-1] >= self._confirm_window:
            return False
        return now_ns - track.last_ns <= self._max_missing_ns

    def _start(self, xy: F32, now_ns: int, id: str | None) -> Track | None:
        """A new track; None when a live camera has too many."""
        if self._limit is not None and len(self._tracks) >= MAX_TRACKS:
            self.ignored_people += 1
            return None
        if id is not None:
            self._remember(id)
        self._tracks.append(Track(xy, now_ns, id, external_id=id is not None))
        return self._tracks[-1]

    def _confirm(self, track: Track, now_ns: int) -> None:
        """Note that a track was detected in this frame."""
        min_motion = self.settings.min_motion
        track.has_moved = track.has_moved or not min_motion or track.motion() >= min_motion
        if not track.confirmed:
            count = self._frame_count
            track.sightings.append(count)
            track.sightings = [frame for frame in track.sightings if count - frame < self._confirm_window]
            track.confirmed = len(track.sightings) >= self.settings.confirm_frames and self._admit(now_ns)

    def _admit(self, now_ns: int) -> bool:
        """Whether one more person may be confirmed."""
        if self._limit is None:
            return True
        people = sum([track.confirmed for track in self._tracks])
        admitted = people < MAX_PEOPLE and self._limit.admit(id(self), now_ns)
        if admitted:
            self._limit.update(id(self), people + 1, now_ns)
        else:
            self.ignored_people += 1
        return admitted

    def _remember(self, id: str) -> None:
        self._used_ids[id] = None
        if len(self._used_ids) > MAX_USED_IDS:
            del self._used_ids[next(iter(self._used_ids))]

    def _emit(self) -> KeypointFrame:
        """The oldest frame held back, with the people to publish and their ids."""
        frame, detections = self._held.popleft()
        people = [(person, track) for person, track in detections if track.confirmed and track.has_moved]
        if self.settings.persons != "all":
            self._select([track for _, track in people], frame.header.captured_ns)
            people = [(person, track) for person, track in people if track in self._selected]
        persons = []
        for person, track in people:
            track.id = id = track.id or self._new_id()
            persons.append(person if person.id == id else person.named(id))
        return frame if persons == list(frame.persons) else frame.with_persons(tuple(persons))

    def _select(self, candidates: list[Track], now_ns: int) -> None:
        """Select the largest people.

        A selected person keeps the slot while occluded, and against challengers less than 25 % larger.
        """
        limit = 1 if self.settings.persons == "largest" else int(self.settings.persons)
        holders = [track for track in self._selected if now_ns - track.last_ns <= self._max_missing_ns]
        rank = {track: track.size for track in candidates}
        rank |= {track: SELECTION_HYSTERESIS * track.size for track in holders}
        self._selected = sorted(rank, key=rank.__getitem__, reverse=True)[:limit]

    def _new_id(self) -> str:
        while True:
            tail = self._random.choices(string.ascii_lowercase + string.digits, k=4)
            new_id = self._random.choice(string.ascii_lowercase) + "".join(tail)
            if new_id not in self._used_ids:
                self._remember(new_id)
                return new_id
