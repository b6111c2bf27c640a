"""Poses at a steady rate: pending frames at the points of a time grid, made of the captured frames."""

from dataclasses import replace

from stream.messages import State
from stream.windows.pending import PendingFrame, PersonInFrame, carry_events


class OutputGrid:
    """Time grid of one camera: a point every `step_ns` from its first frame on, numbered by seq.

    A point exists once a frame at or after it is captured, so no pose is extrapolated. A gap of more than
    `max_gap_ns` between two frames gets no points. Points are equally spaced in wall-clock time too: the
    offset between the clocks is measured once, and again when the wall clock was set forward by more than
    `max_gap_ns`.
    """

    def __init__(self, step_ns: int, max_gap_ns: int) -> None:
        self._step_ns = step_ns
        self._max_gap_ns = max_gap_ns
        self._next_seq = 0
        self._grid_start_ns: int | None = None  # time of the point with seq 0
        self._newest_ns = 0  # captured time of the newest frame
        self._wall_offset_ns = 0  # wall clock minus captured_ns
        self._events: PendingFrame | None = None  # the newest frame, with the events not published yet

    def restart(self) -> None:
        """Make the next frame the next point: its clock has nothing to do with that of the frames before."""
        self._grid_start_ns = self._events = None

    def push(self, frame: PendingFrame) -> list[PendingFrame]:
        """The points up to the captured `frame`, whose keypoints are in the rings already."""
        captured_ns = frame.header.captured_ns
        wall_offset_ns = frame.header.captured_unix_ns - captured_ns
        if self._grid_start_ns is None:
            self._grid_start_ns = captured_ns - self._next_seq * self._step_ns
            self._wall_offset_ns = wall_offset_ns
        elif wall_offset_ns - self._wall_offset_ns > self._max_gap_ns:
            self._wall_offset_ns = wall_offset_ns
        points = []
        if self._events is None or captured_ns - self._newest_ns > self._max_gap_ns:
            self._skip_to(-((self._grid_start_ns - captured_ns) // self._step_ns))  # rounded up
        while self._events is not None and self._next_ns() < captured_ns:
            points.append(self._point(self._events, frame))
        self._newest_ns = captured_ns
        self._events = carry_events(self._events, frame) if self._events else frame
        if self._next_ns() == captured_ns:
            points.append(self._point(self._events, frame))
        return points

    def announce(self, frame: PendingFrame) -> PendingFrame:
        """One point for events at a time without a captured frame."""
        if self._grid_start_ns is not None:
            self._skip_to((frame.header.captured_ns - self._grid_start_ns) // self._step_ns)
        self._events = carry_events(self._events, frame) if self._events else frame
        return self._point(self._events, frame)

    def _skip_to(self, seq: int) -> None:
        self._next_seq = max(self._next_seq, seq)

    def _next_ns(self) -> int:
        assert self._grid_start_ns is not None
        return self._grid_start_ns + self._next_seq * self._step_ns

    def _point(self, events: PendingFrame, newest: PendingFrame) -> PendingFrame:
        """The next grid point. Its new and lost events are emitted once and then cleared."""
        header = replace(
            newest.header,
            seq=self._next_seq,
            captured_ns=self._next_ns(),
            captured_unix_ns=self._next_ns() + self._wall_offset_ns,
        )
        self._next_seq += 1
        missing_ids = {person.id for person in newest.persons if person.state in ("predicted", "lost")}
        persons = [_refresh(person, person.id in missing_ids) for person in events.persons]
        self._events = replace(
            events,
            persons=tuple(
                [
                    replace(person, state="ok") if person.state == "new" else person
                    for person in events.persons
                    if person.state != "lost"
                ]
            ),
        )
        return replace(newest, header=header, persons=tuple(persons))


def _refresh(person: PersonInFrame, missing: bool) -> PersonInFrame:
    """The person up to the newest frame of the ring; after the last detection the state is predicted."""
    state: State = "predicted" if missing and person.state == "ok" else person.state
    return replace(person, state=state, position=person.ring.count - 1)
