"""Frames that wait for poses, and the frames that one pass of the lifter takes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stream.messages import Header, State, Window
from stream.windows.resample import AS_CAPTURED, Timing, WindowCut
from stream.windows.ring import Ring


@dataclass(frozen=True, slots=True)
class PersonInFrame:
    """One person in one pending frame: `position` is that of the newest frame of `ring` at that time.

    repaired: joints whose exchanged sides were repaired in that frame.
    """

    id: str
    state: State
    ring: Ring
    position: int
    repaired: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """One captured frame, or one point of the output grid, that waits for its poses.

    number: captured frames of its camera before it. grid_position: its time in ns when windows lie on a time
    grid, otherwise the same as number. Both never shrink from one frame to the next.
    """

    header: Header
    size_wh: tuple[int, int]
    detected_ns: int
    capture_ms: float
    persons: tuple[PersonInFrame, ...]
    number: int
    grid_position: int


@dataclass(frozen=True, slots=True)
class LiftRequest:
    """Frames that one pass publishes of a camera, in order, and the position where each ring's window ends.

    Keyed by ring, not by id: an id that a sender gives may be lost and come back with another ring.
    """

    frames: list[PendingFrame]
    window_ends: dict[Ring, int]
    timing: Timing = AS_CAPTURED

    @property
    def rings(self) -> dict[Ring, tuple[int, int]]:
        """Every ring in any of the frames, and the image size of its last frame."""
        return {person.ring: frame.size_wh for frame in self.frames for person in frame.persons}

    def windows(self, length: int) -> dict[Ring, Window]:
        """One window of `length` frames for every ring in any of the frames."""
        return windows_of([self], length)


def windows_of(requests: Sequence[LiftRequest], length: int) -> dict[Ring, Window]:
    """One window of `length` frames for every ring of the requests, which share their timing."""
    cuts = [
        WindowCut(ring, size_wh, request.window_ends[ring], request.frames[0].header.captured_ns)
        for request in requests
        for ring, size_wh in request.rings.items()
    ]
    windows = requests[0].timing.windows(cuts, length) if cuts else []
    return {cut.ring: window for cut, window in zip(cuts, windows, strict=True)}


def carry_events(dropped: PendingFrame, following: PendingFrame) -> PendingFrame:
    """Carry the new and lost events of a frame that is never published over to the following frame.

    A person who is new in the dropped frame and lost in the following one is left out: subscribers never got
    that id.
    """
    states_before = {person.id: person.state for person in dropped.persons}
    persons = []
    for person in following.persons:
        if states_before.get(person.id) != "new":
            persons.append(person)
        elif person.state != "lost":
            persons.append(replace(person, state="new"))
    ids = {person.id for person in following.persons}
    persons += [person for person in dropped.persons if person.state == "lost" and person.id not in ids]
    return replace(following, persons=tuple(persons)) if dropped.persons else following
