"""Poses at a steady rate: arrivals at the points of a time grid, made of those of captured frames."""

from dataclasses import replace

from stream.windows.pending import PendingFrame, PersonInFrame, carry_events


class OutputGrid:
    """The grid of one source: every tick_ns from its first frame on, numbered by seq.

    A point is there once a frame at or after it is: nothing is extrapolated. Between two frames more
    than gap_ns apart there are none. Wall-clock times of points are as exactly apart as the others: both
    clocks are compared once, and again where the wall clock was set forward by more than gap_ns.
    """

    def __init__(self, tick_ns: int, gap_ns: int) -> None:
        self._tick_ns = tick_ns
        self._gap_ns = gap_ns
        self._seq = 0  # of the next point
        self._zero_ns: int | None = None  # where point 0 lies, or would
        self._captured_ns = 0  # of the newest frame
        self._wall_ns = 0  # how far the wall clock is ahead of captured_ns
        self._said: PendingFrame | None = (
            None  # the newest frame's people, and what is still to be said of them
        )

    def restart(self) -> None:
        """The next frame is the next point: its clock has nothing to do with that of those before."""
        self._zero_ns = self._said = None

    def take(self, arrival: PendingFrame) -> list[PendingFrame]:
        """The points up to the captured frame `arrival`, whose people's rings know it already."""
        at_ns = arrival.header.captured_ns
        wall_ns = arrival.header.captured_unix_ns - at_ns
        if self._zero_ns is None:
            self._zero_ns, self._wall_ns = at_ns - self._seq * self._tick_ns, wall_ns
        elif wall_ns - self._wall_ns > self._gap_ns:
            self._wall_ns = wall_ns
        points = []
        if self._said is None or at_ns - self._captured_ns > self._gap_ns:
            self._skip_to(-((self._zero_ns - at_ns) // self._tick_ns))  # rounded up
        while self._said is not None and self._next_ns() < at_ns:
            points.append(self._point(self._said, arrival))
        self._captured_ns = at_ns
        self._said = carry_events(self._said, arrival) if self._said else arrival
        if self._next_ns() == at_ns:
            points.append(self._point(self._said, arrival))
        return points

    def announce(self, arrival: PendingFrame) -> list[PendingFrame]:
        """One point for what is to be said though no frame was captured."""
        if self._zero_ns is not None:
            self._skip_to((arrival.header.captured_ns - self._zero_ns) // self._tick_ns)
        self._said = carry_events(self._said, arrival) if self._said else arrival
        return [self._point(self._said, arrival)]

    def _skip_to(self, seq: int) -> None:
        self._seq = max(self._seq, seq)

    def _next_ns(self) -> int:
        assert self._zero_ns is not None
        return self._zero_ns + self._seq * self._tick_ns

    def _point(self, said: PendingFrame, newest: PendingFrame) -> PendingFrame:
        """The next point, with the people of `said`; what is said of them now is not said again."""
        header = replace(
            newest.header,
            seq=self._seq,
            captured_ns=self._next_ns(),
            captured_unix_ns=self._next_ns() + self._wall_ns,
        )
        self._seq += 1
        unseen = {who.id for who in newest.sightings if who.state in ("predicted", "lost")}
        people = [_known(who, who.id in unseen) for who in said.sightings]
        rest = [replace(who, state="ok") if who.state == "new" else who for who in said.sightings]
        self._said = replace(said, sightings=tuple(who for who in rest if who.state != "lost"))
        return replace(newest, header=header, sightings=tuple(people))


def _known(who: PersonInFrame, unseen: bool) -> PersonInFrame:
    """The person as their ring knows them now; after the last sighting they are predicted."""
    state = "predicted" if unseen and who.state == "ok" else who.state
    return replace(who, state=state, position=who.ring.count - 1)
