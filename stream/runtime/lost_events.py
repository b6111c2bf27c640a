"""Announcements of lost persons that outlive the messages they were in."""

import threading
from dataclasses import replace

from stream.messages import Message, PoseFrame

MAX_LOST = 100  # persons per source: a sink may be away for days


class LostEvents:
    """Carries lost persons of dropped pose frames over to the next frame of their source.

    Subscribers act on these persons until they learn of the loss, so that no full queue may drop it.
    """

    def __init__(self) -> None:
        self._frames: dict[str, PoseFrame] = {}  # the newest dropped frame of a source, with all lost persons
        self._lock = threading.Lock()

    def keep(self, dropped: Message) -> None:
        """Remember the lost persons of a dropped message, if it has any."""
        if not isinstance(dropped, PoseFrame):
            return
        source = dropped.header.source
        with self._lock:
            if source in self._frames:
                dropped = _carry(self._frames[source], dropped)
            if any(person.state == "lost" for person in dropped.persons):
                self._frames[source] = dropped

    def carry(self, message: Message) -> Message:
        """The message, with the lost persons of earlier dropped frames of its source."""
        if not self._frames or not isinstance(message, PoseFrame):
            return message
        with self._lock:
            dropped = self._frames.pop(message.header.source, None)
        return message if dropped is None else _carry(dropped, message)

    def pop(self) -> PoseFrame | None:
        """A dropped frame with lost persons, for a source without later frames; None when there is none."""
        with self._lock:
            return self._frames.pop(next(iter(self._frames))) if self._frames else None


def _carry(dropped: PoseFrame, following: PoseFrame) -> PoseFrame:
    ids = {person.id for person in following.persons}
    lost = [person for person in dropped.persons if person.state == "lost" and person.id not in ids]
    return replace(following, persons=(*following.persons, *lost[-MAX_LOST:])) if lost else following
