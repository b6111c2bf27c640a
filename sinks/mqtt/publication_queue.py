"""Publications on their way to the broker."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sinks.max_age import MaxAge
from sinks.mqtt.publications import Publication
from stream.messages import PoseFrame
from stream.queues import DropOldestQueue

QUEUE_SIZE = 64


@dataclass(frozen=True, slots=True)
class _Queued:
    """A publication that waits; frame: whose pose it is, or None for one that is of use at any age."""

    publication: Publication
    frame: PoseFrame | None


class PublicationQueue:
    """Drops the oldest poses when it is full, and poses that are too old; keeps events and counts longer.

    on_drop: called once for every publication dropped from a full queue.
    """

    def __init__(self, max_age: MaxAge | None, on_drop: Callable[[], object]) -> None:
        self._max_age = max_age
        self._on_drop = on_drop
        self._queue: DropOldestQueue[_Queued] = DropOldestQueue(QUEUE_SIZE, self._drop)
        # Events and counts from a full queue, older than all in it. A count is only sent when it changes.
        self._kept: deque[_Queued] = deque()

    def put(self, publications: Iterable[Publication], frame: PoseFrame | None = None) -> None:
        """Append publications; frame: that they come from, if any."""
        for publication in publications:
            is_pose = publication.qos == 0 and not publication.retain
            self._queue.put(_Queued(publication, frame if is_pose else None))

    def get(self) -> Publication | None:
        """The next publication that is not too old; None when none waits."""
        while (queued := self._next()) is not None:
            if self._max_age is None or queued.frame is None or not self._max_age.exceeded(queued.frame):
                return queued.publication
        return None

    def drain(self) -> list[Publication]:
        """Empty the queue and return the publications that were in it."""
        return [queued.publication for queued in iter(self._next, None)]

    def _next(self) -> _Queued | None:
        return self._kept.popleft() if self._kept else self._queue.get(timeout_s=0)

    def _drop(self, queued: _Queued) -> None:
        is_pose = queued.publication.qos == 0 and not queued.publication.retain
        if not is_pose:
            self._kept.append(queued)
            if len(self._kept) <= QUEUE_SIZE:
                return
            self._kept.popleft()
        self._on_drop()


def transient(publications: Iterable[Publication]) -> int:
    """Number of publications that no broker retains, so that dropping them loses them."""
    return sum(not publication.retain for publication in publications)
