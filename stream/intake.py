"""What one source has brought and nobody has published yet: between its thread and the lift thread."""

import threading
from collections import deque
from dataclasses import dataclass

from stream.health import Health
from stream.messages import Header, KeypointFrame, Keypoints, State, Window
from stream.ring import Ring


@dataclass(frozen=True, slots=True)
class Sighting:
    """One person in one arrival: where their frame lies in their ring, and what they were then."""

    id: str
    state: State
    ring: Ring
    position: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """One captured frame, waiting for its poses."""

    header: Header
    size_wh: tuple[int, int]
    detected_ns: int
    capture_ms: float
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class Due:
    """What one pass publishes of a source: arrivals in order, and where the window of each ring ends.

    Rings, not ids: who is lost and comes back under the same id has two of them.
    """

    arrivals: list[Arrival]
    ends: dict[Ring, int]

    def windows(self, frames: int) -> dict[Ring, Window]:
        """One window per ring that is in any of the arrivals."""
        sizes = {who.ring: each.size_wh for each in self.arrivals for who in each.sightings}
        return {ring: ring.window(frames, size_wh, self.ends[ring]) for ring, size_wh in sizes.items()}


class Intake:
    """Rings of the people one source sees, and its arrivals not yet published.

    frames: of a lifter's window, the most that may wait. lossless: a full intake makes the source
    wait (files); otherwise the oldest arrival is dropped and counted (cameras). predict_s: how long
    a person who is not seen is kept before being lost.
    """

    def __init__(self, name: str, frames: int, lossless: bool, predict_s: float, health: Health) -> None:
        self.name = name
        self.lossless = lossless
        self._frames = frames
        self._predict_ns = round(predict_s * 1e9)
        self._health = health
        self._people: dict[str, tuple[Ring, int]] = {}  # ring, captured_ns of the last sighting
        self._arrivals: deque[Arrival] = deque()
        self._last: Arrival | None = None
        self._silent = False
        self._ended = False
        self._closed = False
        self._changed = threading.Condition()

    def accept(self, frame: KeypointFrame) -> None:
        """Take one frame whose persons all have an id (source thread)."""
        with self._changed:
            if self.lossless:
                self._changed.wait_for(lambda: self._closed or len(self._arrivals) < self._frames)
            anew = self._last is not None and self._last.size_wh != frame.size_wh
            sightings = tuple(self._see(frame.header.captured_ns, frame.persons, anew))
            self._silent = False
            self._add(Arrival(frame.header, frame.size_wh, frame.detected_ns, frame.capture_ms, sightings))

    def expire(self, now_ns: int) -> bool:
        """When the source has gone silent, announce everybody not seen for too long as lost.

        What still waits for newer frames is due then. The announcement repeats the last frame's seq, for
        no frame was captured. True if there was one.
        """
        with self._changed:
            if self._last is None:
                return False
            last = self._last
            # Silence counts from the arrival: a capture may lie far back, by a slow sender or a wrong clock.
            silent_ns = now_ns - last.detected_ns
            self._silent = silent_ns > self._predict_ns
            at_ns = last.header.captured_ns + silent_ns
            if not any(at_ns - seen_ns > self._predict_ns for _, seen_ns in self._people.values()):
                return False
            header = Header(self.name, last.header.seq, at_ns, last.header.captured_unix_ns + silent_ns)
            self._add(Arrival(header, last.size_wh, now_ns, 0.0, tuple(self._see(at_ns, (), anew=False))))
            return True

    def end(self) -> None:
        """The source is finished: all that waits is due."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of a waiting source thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, hop: int, lag: int) -> Due | None:
        """What is due when at least `hop` arrivals have `lag` newer ones, or none will come (lift thread).

        A live source hands over all of them, so a slow lifter widens the hop; a lossless one exactly
        `hop`, so that a replay makes the same passes every time.
        """
        with self._changed:
            waiting = len(self._arrivals)
            all_due = self._ended or self._silent
            publish = waiting if all_due else waiting - lag
            if publish < (1 if all_due else hop):
                return None
            if self.lossless:
                publish = min(publish, hop)
            seen = list(self._arrivals)[: publish + lag]
            ends = {who.ring: who.position + 1 for arrival in seen for who in arrival.sightings}
            arrivals = [self._arrivals.popleft() for _ in range(publish)]
            self._changed.notify_all()
        return Due(arrivals, ends)

    @property
    def finished(self) -> bool:
        """Ended, and nothing waits."""
        with self._changed:
            return self._ended and not self._arrivals

    def _add(self, arrival: Arrival) -> None:
        if len(self._arrivals) >= self._frames and not self.lossless:
            self._arrivals.popleft()
            self._health.count(self.name, "drop.lifter_behind")
        self._arrivals.append(arrival)
        self._last = arrival
        self._changed.notify_all()

    def _see(self, captured_ns: int, persons: tuple[Keypoints, ...], anew: bool) -> list[Sighting]:
        """Push what was seen, and a gap for everybody known who was not.

        anew: images have another size now, so that no pixel from before can be compared.
        """
        sightings = []
        here = {person.id: person for person in persons}
        for id, person in here.items():
            assert id is not None  # the tracker names everybody
            state: State = "ok" if id in self._people else "new"
            ring = self._ring(person) if anew or state == "new" else self._people[id][0]
            self._people[id] = (ring, captured_ns)
            position = ring.push(person.xy, person.score, captured_ns)
            sightings.append(Sighting(id, state, ring, position))
        for id in [id for id in self._people if id not in here]:
            ring, last_ns = self._people[id]
            lost = anew or captured_ns - last_ns > self._predict_ns
            sightings.append(Sighting(id, "lost" if lost else "predicted", ring, ring.push_gap(captured_ns)))
            if lost:
                del self._people[id]
        return sightings

    def _ring(self, person: Keypoints) -> Ring:
        # A window may start `frames` before the oldest arrival still waiting.
        return Ring(2 * self._frames + 2, len(person.score))
