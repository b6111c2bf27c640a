"""Presence of the people of one camera: new, ok, predicted or lost.

This is the only place where a person begins and ends. A lost id is taken from the tracker, so that the same
person comes back under another id, unless the source itself gives the ids.
"""

from stream.messages import KeypointFrame, Keypoints, State, TrackedPerson
from stream.tracking.tracker import Tracker

MIN_GAP_S = 0.25  # a shorter gap between two detections keeps the person, however small predict_s is


def max_gap_s(predict_s: float) -> float:
    """The longest gap in seconds between two detections that keeps a person; a longer gap ends it."""
    return max(predict_s, MIN_GAP_S)


class Lifecycle:
    """States of the people of one camera, whose ids come from `tracker`.

    predict_s: a person missing in captured frames for longer is lost. When the camera is silent, a person is
    lost after `max_gap_s(predict_s)`.
    """

    def __init__(self, tracker: Tracker, predict_s: float) -> None:
        self._tracker = tracker
        self._predict_ns = round(predict_s * 1e9)
        self._max_gap_ns = round(max_gap_s(predict_s) * 1e9)
        self._last_detection_ns: dict[str, int] = {}  # captured time by id, of all present people
        self._newest: KeypointFrame | None = None

    def update(self, frame: KeypointFrame) -> tuple[TrackedPerson, ...]:
        """The people present at `frame`, newer than the frame before: first the detected, then the missing.

        All persons of the frame must have ids. Images of another size end the windows of detected people and
        lose the missing ones, since no pixel from before can be compared.
        """
        resized = self._newest is not None and self._newest.size_wh != frame.size_wh
        self._newest, captured_ns = frame, frame.header.captured_ns
        detections = {person.id: person for person in frame.persons}
        people = [self._detected(person, captured_ns, resized) for person in detections.values()]
        for id, last_ns in self._last_detection_ns.items():
            if id not in detections:
                lost = resized or captured_ns - last_ns > self._predict_ns
                people.append(TrackedPerson(id, "lost" if lost else "predicted"))
        self._forget_lost(people)
        return tuple(people)

    def is_silent(self, now_ns: int) -> bool:
        """Whether the newest frame arrived so long ago that no person can go on after it."""
        # Silence counts from the arrival: a capture may lie far back, by a slow sender or a wrong clock.
        return self._newest is not None and now_ns - self._newest.detected_ns > self._max_gap_ns

    def expire(self, now_ns: int) -> tuple[TrackedPerson, ...]:
        """All people present, without keypoints, when the silence has lost any of them; otherwise none."""
        if self._newest is None:
            return ()
        at_ns = self._newest.header.captured_ns + now_ns - self._newest.detected_ns
        return self._lose({id for id, ns in self._last_detection_ns.items() if at_ns - ns > self._max_gap_ns})

    def restart(self) -> tuple[TrackedPerson, ...]:
        """All people present, now lost; the next frame has nothing to do with the frames before."""
        return self._lose(set(self._last_detection_ns))

    def _detected(self, person: Keypoints, captured_ns: int, resized: bool) -> TrackedPerson:
        assert person.id is not None  # the tracker names every person
        last_ns = self._last_detection_ns.get(person.id)
        is_new = last_ns is None or captured_ns - last_ns > self._max_gap_ns
        self._last_detection_ns[person.id] = captured_ns
        state: State = "new" if is_new else "ok"
        return TrackedPerson(person.id, state, person, starts_window=is_new or resized)

    def _lose(self, ids: set[str]) -> tuple[TrackedPerson, ...]:
        if not ids:
            return ()
        people = [TrackedPerson(id, "lost" if id in ids else "predicted") for id in self._last_detection_ns]
        self._forget_lost(people)
        return tuple(people)

    def _forget_lost(self, people: list[TrackedPerson]) -> None:
        lost_ids = [person.id for person in people if person.state == "lost"]
        for id in lost_ids:
            del self._last_detection_ns[id]
        self._tracker.forget(lost_ids)
