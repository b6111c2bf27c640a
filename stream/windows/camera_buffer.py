"""What one source has brought and nobody has published yet: between its thread and the lift thread."""

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import replace

from stream.health import Health
from stream.messages import KeypointFrame, Keypoints, State
from stream.windows.output_grid import OutputGrid
from stream.windows.pending import LiftRequest, PendingFrame, PersonInFrame, carry_events
from stream.windows.resample import AS_CAPTURED, Timing
from stream.windows.ring import Ring

MIN_GAP_S = 0.25  # between two frames that see somebody: less is no gap, however soon people are lost


class CameraBuffer:
    """Rings of the people one source sees, and its arrivals not yet published.

    frames: of a lifter's window, the most that may wait. lossless: a full intake makes the source
    wait (files); otherwise the oldest arrival is dropped and counted (cameras). predict_s: how long
    a person who is not seen is kept before being lost; a longer gap ends their window. pace: at what
    times windows and poses are; with a time grid, what is said here of lifter frames is a time.
    """

    def __init__(
        self,
        name: str,
        frames: int,
        lossless: bool,
        predict_s: float,
        health: Health,
        pace: Timing = AS_CAPTURED,
    ) -> None:
        self.name = name
        self.lossless = lossless
        self._frames = frames
        self._predict_ns = round(predict_s * 1e9)
        self._gap_ns = round(max(predict_s, MIN_GAP_S) * 1e9)
        self._health = health
        self._pace = pace
        self._room = pace.room(frames)  # captured frames
        self._unit = pace.step_ns or 1  # of places: one lifter frame
        self._ticks = OutputGrid(pace.tick_ns, self._gap_ns) if pace.tick_ns else None
        self._people: dict[str, tuple[Ring, int]] = {}  # ring, captured_ns of the last sighting
        self._arrivals: deque[PendingFrame] = deque()
        self._last: PendingFrame | None = None  # the newest frame
        self._silent = False
        self._ended = False
        self._closed = False
        self._changed = threading.Condition()  # there is room again, for which only the source's thread waits

    # The source's thread

    def accept(self, frame: KeypointFrame) -> list[str]:
        """Take one frame, newer than the one before, whose persons all have an id. Returns who is lost."""
        with self._changed:
            if self.lossless:
                self._changed.wait_for(lambda: self._closed or not self._full())
            last, captured_ns = self._last, frame.header.captured_ns
            anew = last is not None and last.size_wh != frame.size_wh
            number = last.frame + 1 if last else 0
            place = last.place + self._step(last, captured_ns) if last else 0
            sightings = self._see(captured_ns, frame.persons, anew)
            self._silent = False
            self._last = PendingFrame(
                frame.header, frame.size_wh, frame.detected_ns, frame.capture_ms, sightings, number, place
            )
            for arrival in self._ticks.take(self._last) if self._ticks else [self._last]:
                back = captured_ns - arrival.header.captured_ns if self._pace.step_ns else 0
                self._add(replace(arrival, place=place - back) if back else arrival)
            return [who.id for who in sightings if who.state == "lost"]

    def expire(self, now_ns: int) -> list[str]:
        """When the source has gone silent, announce everybody not seen for too long as lost; returns them.

        What still waits for newer frames is due then. The announcement repeats the last frame's seq, for
        no frame was captured.
        """
        with self._changed:
            if self._last is None:
                return []
            # Silence counts from the arrival: a capture may lie far back, by a slow sender or a wrong clock.
            silent_ns = now_ns - self._last.detected_ns
            self._silent = silent_ns > self._gap_ns
            at_ns = self._last.header.captured_ns + silent_ns
            lost = {id for id, (_, seen_ns) in self._people.items() if at_ns - seen_ns > self._gap_ns}
            return self._announce(lost, silent_ns, now_ns)

    def restart(self, now_ns: int) -> list[str]:
        """Announce everybody as lost, and compare the next frame with none before; returns who is lost."""
        with self._changed:
            if self._last is None:
                return []
            # A file's own times say nothing about how long it was silent.
            silent_ns = 0 if self.lossless else max(0, now_ns - self._last.detected_ns)
            lost = self._announce(set(self._people), silent_ns, now_ns)
            if self._ticks:
                self._ticks.restart()
            return lost

    def end(self) -> None:
        """The source is finished: all that waits is due."""
        with self._changed:
            self._ended = True

    def close(self) -> None:
        """Let go of a waiting source thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # The lift thread

    def take(self, hop: int, lag: int) -> LiftRequest | None:
        """What is due when at least `hop` arrivals have `lag` lifter frames after them, or none will come.

        A live source hands over all of them, so a slow lifter widens the hop; a lossless one exactly
        `hop` lifter frames, so that a replay makes the same passes every time. Never more than one window
        can answer for.
        """
        with self._changed:
            if not self._arrivals:
                return None
            places = [arrival.place for arrival in self._arrivals]
            ahead = max(lag * self._unit - self._unit // 2, 0)  # to the nearest lifter frame
            full, over = self._full(), self._ended or self._silent
            due = len(places) if over and not full else bisect_right(places, places[-1] - ahead)
            due = max(due, 1) if full else due
            if self.lossless:
                beyond = places[0] + hop * self._unit
                step = bisect_left(places, beyond)
                ready = due >= step and places[-1] >= beyond - 1  # nothing to come belongs to this hop
                due = min(due, step)
            else:
                ready = due >= hop
            if not (ready or full or over):
                return None
            fit = bisect_right(places, places[0] + (self._frames - 1) * self._unit)
            if fit < len(places):
                due = min(due, max(1, bisect_right(places, places[fit - 1] - ahead)))
            known = max(due, min(fit, bisect_left(places, places[due - 1] + ahead) + 1))
            seen = list(self._arrivals)[:known]
            ends = {who.ring: who.position + 1 for arrival in seen for who in arrival.sightings}
            arrivals = [self._arrivals.popleft() for _ in range(due)]
            self._changed.notify_all()
        return LiftRequest(arrivals, ends, self._pace)

    @property
    def finished(self) -> bool:
        """Ended, and nothing waits."""
        with self._changed:
            return self._ended and not self._arrivals

    @property
    def filled(self) -> float:
        """How much of what may wait does, from 0 to 1: then the oldest is dropped, or the source waits."""
        with self._changed:
            waiting = self._arrivals
            return (waiting[-1].frame - waiting[0].frame + 1) / self._room if waiting else 0.0

    # Under the lock

    def _full(self) -> bool:
        """As much waits as one window can answer for, or as rings are made for."""
        if not self._arrivals:
            return False
        first, last = self._arrivals[0], self._arrivals[-1]
        long = last.place - first.place >= (self._frames - 1) * self._unit
        return long or last.frame - first.frame >= self._room - 1

    def _add(self, arrival: PendingFrame) -> None:
        while not self.lossless and self._arrivals and arrival.frame - self._arrivals[0].frame >= self._room:
            dropped = self._arrivals.popleft()
            self._health.increment(self.name, "drop.lifter_behind")
            if self._arrivals:
                self._arrivals[0] = carry_events(dropped, self._arrivals[0])
            else:
                arrival = carry_events(dropped, arrival)
        self._arrivals.append(arrival)

    def _announce(self, lost: set[str], silent_ns: int, now_ns: int) -> list[str]:
        """Say who is lost, though no frame was captured; rings are left as they are."""
        if not lost or self._last is None:
            return []
        header = self._last.header
        header = replace(
            header,
            captured_ns=header.captured_ns + silent_ns,
            captured_unix_ns=header.captured_unix_ns + silent_ns,
        )
        people = tuple(
            PersonInFrame(id, "lost" if id in lost else "predicted", ring, ring.count - 1)
            for id, (ring, _) in self._people.items()
        )
        arrival = replace(self._last, header=header, detected_ns=now_ns, capture_ms=0.0, sightings=people)
        for each in self._ticks.announce(arrival) if self._ticks else [arrival]:
            self._add(each)
        self._people = {id: known for id, known in self._people.items() if id not in lost}
        return sorted(lost)

    def _step(self, last: PendingFrame, captured_ns: int) -> int:
        """How far the next frame lies behind the last; clocks that have nothing in common share no window."""
        if self._pace.step_ns is None:
            return 1
        step_ns = captured_ns - last.header.captured_ns
        return step_ns if step_ns > 0 else self._frames * self._unit

    def _see(self, captured_ns: int, persons: tuple[Keypoints, ...], anew: bool) -> tuple[PersonInFrame, ...]:
        """Push what was seen, and a gap for everybody known who was not.

        anew: images have another size now, so that no pixel from before can be compared.
        """
        sightings = []
        here = {person.id: person for person in persons}
        for id, person in here.items():
            assert id is not None  # the tracker names everybody
            ring, last_ns = self._people.get(id, (None, captured_ns))
            state: State = "new" if ring is None or captured_ns - last_ns > self._gap_ns else "ok"
            if ring is None or anew or state == "new":
                ring = self._ring(person)
            self._people[id] = (ring, captured_ns)
            position = ring.push(person.xy, person.score, captured_ns)
            sightings.append(PersonInFrame(id, state, ring, position))
        for id in [id for id in self._people if id not in here]:
            ring, last_ns = self._people[id]
            lost = anew or captured_ns - last_ns > self._predict_ns
            sightings.append(
                PersonInFrame(id, "lost" if lost else "predicted", ring, ring.push_gap(captured_ns))
            )
            if lost:
                del self._people[id]
        return tuple(sightings)

    def _ring(self, person: Keypoints) -> Ring:
        # A window may start as far before the oldest arrival still waiting as it is long.
        return Ring(2 * self._room + 2, len(person.score))
