"""Limits on the people of one live source, so that a sender of ever new ids cannot exhaust the memory."""

MAX_PEOPLE = 100  # at once at one camera; further people of a frame are ignored
MAX_PEOPLE_OF_SOURCE = 500  # at once at all cameras of a source: each takes about 200 kB
MAX_NEW_PEOPLE = 50  # in one moment, for example when a camera starts in front of a crowd
NEW_PEOPLE_PER_S = 8.0  # on average
_SILENT_NS = 2_000_000_000  # people of a camera without newer frames no longer count
_RECOUNT_NS = 100_000_000


class PeopleLimit:
    """Counts the confirmed people of a source's cameras and the new people per time; for one thread.

    Times are the captured times of frames, in ns.
    """

    def __init__(self) -> None:
        self._people: dict[int, tuple[int, int]] = {}  # by key: number of people, time
        self._started: set[int] = set()  # keys of cameras that have had a person
        self._total = 0
        self._counted_ns: int | None = None
        self._budget = float(MAX_NEW_PEOPLE)
        self._budget_ns: int | None = None

    def update(self, key: int, people: int, now_ns: int) -> None:
        """Set the number of confirmed people of the camera `key`."""
        self._total += people - self._people.get(key, (0, 0))[0]
        self._people[key] = people, now_ns

    def admit(self, key: int, now_ns: int) -> bool:
        """Whether one more person of the camera `key` may be confirmed now; counts the person when so.

        The first person of every camera is not a new person in this sense: many cameras may start at once.
        """
        elapsed_ns = 0 if self._budget_ns is None else max(0, now_ns - self._budget_ns)
        self._budget_ns = now_ns
        self._budget = min(MAX_NEW_PEOPLE, self._budget + NEW_PEOPLE_PER_S * elapsed_ns / 1e9)
        if self._total >= MAX_PEOPLE_OF_SOURCE:
            self._forget_silent_cameras(now_ns)
        is_first = key not in self._started
        if self._total >= MAX_PEOPLE_OF_SOURCE or (self._budget < 1 and not is_first):
            return False
        self._started.add(key)
        self._budget -= 0 if is_first else 1
        return True

    def _forget_silent_cameras(self, now_ns: int) -> None:
        if self._counted_ns is not None and 0 <= now_ns - self._counted_ns < _RECOUNT_NS:
            return
        self._counted_ns = now_ns
        self._people = {
            key: entry for key, entry in self._people.items() if abs(now_ns - entry[1]) < _SILENT_NS
        }
        self._started.intersection_update(self._people)
        self._total = sum(people for people, _ in self._people.values())
