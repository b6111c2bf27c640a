"""Moments that wait for their poses, and what one pass of the lifter takes of them."""

from dataclasses import dataclass, replace

from stream.messages import Header, State, Window
from stream.windows.resample import AS_CAPTURED, Timing
from stream.windows.ring import Ring


@dataclass(frozen=True, slots=True)
class PersonInFrame:
    """One person in one arrival: up to which frame of their ring it is known, and what they were then."""

    id: str
    state: State
    ring: Ring
    position: int


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """One captured frame, or one point of the output's grid, waiting for its poses.

    frame: how many frames its source had brought before; place: where it lies in lifter frames, times
    the unit of `Intake`. Both only ever grow.
    """

    header: Header
    size_wh: tuple[int, int]
    detected_ns: int
    capture_ms: float
    sightings: tuple[PersonInFrame, ...]
    frame: int
    place: int


@dataclass(frozen=True, slots=True)
class LiftRequest:
    """What one pass publishes of a source: arrivals in order, and where the window of each ring ends.

    Rings, not ids: an id that a sender gives may be lost and come back, with another ring.
    """

    arrivals: list[PendingFrame]
    ends: dict[Ring, int]
    pace: Timing = AS_CAPTURED

    def windows(self, frames: int) -> dict[Ring, Window]:
        """One window per ring that is in any of the arrivals."""
        sizes = {who.ring: each.size_wh for each in self.arrivals for who in each.sightings}
        since_ns = self.arrivals[0].header.captured_ns
        return {
            ring: self.pace.read(ring, frames, size_wh, self.ends[ring], since_ns)
            for ring, size_wh in sizes.items()
        }


def carry_events(unsaid: PendingFrame, arrival: PendingFrame) -> PendingFrame:
    """`arrival`, which also says what `unsaid`, never published, had to say: who is new and who is lost."""
    before = {who.id: who.state for who in unsaid.sightings}
    people = []
    for who in arrival.sightings:
        if before.get(who.id) != "new":
            people.append(who)
        elif who.state != "lost":  # else nobody has ever heard of them
            people.append(replace(who, state="new"))
    here = {who.id for who in arrival.sightings}
    people += [who for who in unsaid.sightings if who.state == "lost" and who.id not in here]
    return replace(arrival, sightings=tuple(people)) if unsaid.sightings else arrival
