"""What is done to pose frames after lifting and before sending, one step after the other.

A step works on batches in place. It keeps its state per source and person (`PerSource`, `PerPerson`), and
every pose that is not lost comes with its keypoints, whether they are published or not.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from stream.batch import Batch, Moment

T = TypeVar("T")
Size = tuple[int, int]


class Step(Protocol):
    """One improvement of pose frames."""

    def finish(self, batch: Batch) -> None: ...


class PerSource(Generic[T]):
    """Something of every source; when a camera changes its resolution, it is made anew."""

    def __init__(self, make: Callable[[str, Size], T]) -> None:
        self._make = make
        self._known: dict[str, tuple[Size, T]] = {}

    def of(self, moment: Moment) -> T:
        source = moment.header.source
        known = self._known.get(source)
        if known is None or known[0] != moment.size_wh:
            known = self._known[source] = moment.size_wh, self._make(source, moment.size_wh)
        return known[1]


class PerPerson(Generic[T]):
    """Something of every person in sight, by `make(skeleton)`: anew for who is new, gone with who is lost."""

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make
        self._people = PerSource[dict[str, T]](lambda source, size_wh: {})

    def of(self, batch: Batch, moment: Moment) -> list[tuple[int, T]]:
        """Of everybody in the next moment of a source who is not lost: their row, and what is theirs."""
        people = self._people.of(moment)
        before = people.copy()
        people.clear()  # every moment has everybody known, so others are gone
        found = []
        for row in moment.rows:
            id, state = batch.ids[row], batch.states[row]
            if state != "lost":
                known = before.get(id) if state != "new" else None
                people[id] = known = self._make(batch.skeleton) if known is None else known
                found.append((row, known))
        return found
