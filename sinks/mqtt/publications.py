"""MQTT publications: topics, payloads, QoS and retain flags of every message; `sinks.mqtt.sink` sends them.

<prefix>/available          online | offline (last will) | stopped      QoS 1, retained
<prefix>/<source>/meta      meta document, JSON                         QoS 1, retained
<prefix>/<source>/pose3d    pose3d document, JSON or MessagePack        QoS 0, at most max_hz
<prefix>/<source>/events    {event_type: new | lost, id, source, t_capture_ns}   QoS 1
<prefix>/<source>/persons   number of persons, when it changes          QoS 0, retained
<prefix>/stats              status document, JSON                       QoS 0
<discovery_prefix>/device/<node>/config   for Home Assistant            QoS 1, retained
"""

from typing import NamedTuple

import msgspec

from sinks.mqtt.home_assistant import HomeAssistant
from stream.clock import Clock
from stream.messages import Message, Meta, PoseFrame, Status
from stream.wire import codec as wire
from stream.wire.schema import Format

MAX_SOURCES = 256  # remembered, so that ever new names of cameras cannot exhaust the memory


class Publication(NamedTuple):
    """One MQTT message."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


class Publications:
    """Turns messages into publications and remembers those that a broker must retain.

    max_hz: maximum rate of pose3d per source, evenly spaced in capture time, so that bursts are thinned too.
    discovery_prefix: Home Assistant's, or None to publish no discovery.
    viewer_url: page that Home Assistant links to.
    """

    def __init__(
        self,
        prefix: str,
        node: str,
        format: Format,
        max_hz: float,
        discovery_prefix: str | None,
        viewer_url: str | None = None,
    ) -> None:
        self.available = f"{prefix}/available"
        self._prefix = prefix
        self._format = format
        self._interval_ns = round(1e9 / max_hz)
        self._home_assistant = (
            HomeAssistant(discovery_prefix, node, prefix, self.available, viewer_url)
            if discovery_prefix
            else None
        )
        self._published_ns: dict[str, int] = {}  # capture time of the last pose3d of each source
        self._present: dict[str, set[str]] = {}  # ids of the persons of each source
        self._metas: dict[str, Meta] = {}
        self._sources: dict[str, None] = {}  # the source of the newest message last

    def from_message(self, message: Message, clock: Clock) -> list[Publication]:
        """The publications that a message causes, in order; possibly none."""
        match message:
            case PoseFrame():
                return [
                    *self._remember(message.header.source),
                    *self._events(message),
                    *self._pose(message, clock),
                ]
            case Meta():
                return [*self._remember(message.source), *self._on_meta(message)]
            case Status():
                return [Publication(f"{self._prefix}/stats", wire.encode(message, "json"))]

    def retained(self) -> list[Publication]:
        """All publications that a broker must retain, for a broker that may have lost them."""
        return [
            Publication(self.available, b"online", 1, True),
            *(self._meta(meta) for meta in self._metas.values()),
            *(self._count(source) for source in self._present),
            *self.discovery(),
        ]

    def stopped(self) -> list[Publication]:
        """The last publications: no persons at any source, and that the node has stopped."""
        counts = [
            Publication(f"{self._prefix}/{source}/persons", b"0", 0, True)
            for source, persons in self._present.items()
            if persons
        ]
        return [*counts, Publication(self.available, b"stopped", 1, True)]

    def discovery(self) -> list[Publication]:
        """Home Assistant's discovery document; none when it is disabled or before the first source."""
        sources = sorted({*self._metas, *self._present})
        if self._home_assistant is None or not sources:
            return []
        document = self._home_assistant.document(sources)
        return [Publication(self._home_assistant.topic, document, 1, True)]

    def _remember(self, source: str) -> list[Publication]:
        """Note a source; of too many, the source silent for longest is forgotten, at the broker too."""
        self._sources.pop(source, None)
        self._sources[source] = None
        if len(self._sources) <= MAX_SOURCES:
            return []
        oldest = next(iter(self._sources))
        del self._sources[oldest]
        self._published_ns.pop(oldest, None)
        forgotten = [("meta", self._metas.pop(oldest, None)), ("persons", self._present.pop(oldest, None))]
        # An empty payload makes the broker forget what it retains under a topic.
        return [
            Publication(f"{self._prefix}/{oldest}/{name}", b"", 1, True)
            for name, value in forgotten
            if value is not None
        ]

    def _events(self, frame: PoseFrame) -> list[Publication]:
        """Events of the persons that are new or lost, and the new count.

        Compares ids with those of the frame before, since the frame with a state "new" or "lost" may
        have been dropped.
        """
        source = frame.header.source
        is_first = source not in self._present
        before = self._present.get(source, set())
        now = {person.id for person in frame.persons if person.state != "lost"}
        if frame.persons and not now:  # its poses may have been too old to be sent
            now = before - {person.id for person in frame.persons}
        self._present[source] = now
        changes = [("new", id) for id in sorted(now - before)] + [("lost", id) for id in sorted(before - now)]
        publications = [self._event(frame, event_type, id) for event_type, id in changes]
        if is_first or len(now) != len(before):
            publications.append(self._count(source))
        if is_first and source not in self._metas:
            publications += self.discovery()
        return publications

    def _pose(self, frame: PoseFrame, clock: Clock) -> list[Publication]:
        source, captured_ns = frame.header.source, frame.header.captured_ns
        elapsed_ns = captured_ns - self._published_ns.get(source, captured_ns - self._interval_ns)
        is_last_of_a_person = any(person.state == "lost" for person in frame.persons)
        if 0 <= elapsed_ns < self._interval_ns and not is_last_of_a_person:
            return []
        # Stay on the grid of intervals unless a whole one was missed, so that the mean rate is max_hz.
        late_ns = elapsed_ns - self._interval_ns
        self._published_ns[source] = captured_ns - (late_ns if 0 <= late_ns < self._interval_ns else 0)
        payload = wire.encode(wire.with_publish_time(frame, clock), self._format)
        return [Publication(f"{self._prefix}/{source}/pose3d", payload)]

    def _on_meta(self, meta: Meta) -> list[Publication]:
        before = self._metas.get(meta.source)
        self._metas[meta.source] = meta
        if before == meta:
            return []
        is_discovered = before is not None or meta.source in self._present
        return [self._meta(meta), *([] if is_discovered else self.discovery())]

    def _meta(self, meta: Meta) -> Publication:
        return Publication(f"{self._prefix}/{meta.source}/meta", wire.encode(meta, "json"), 1, True)

    def _count(self, source: str) -> Publication:
        return Publication(f"{self._prefix}/{source}/persons", b"%d" % len(self._present[source]), 0, True)

    def _event(self, frame: PoseFrame, event_type: str, id: str) -> Publication:
        source, unix_ns = frame.header.source, frame.header.captured_unix_ns
        document = {"event_type": event_type, "id": id, "source": source, "t_capture_ns": unix_ns}
        return Publication(f"{self._prefix}/{source}/events", msgspec.json.encode(document), 1)
