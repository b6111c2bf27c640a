"""What is published over MQTT, message by message; the connection it travels on is `sinks.mqtt`.

<prefix>/available          online | offline (last will) | stopped      QoS 1, retained
<prefix>/<source>/meta      meta document, JSON                         QoS 1, retained
<prefix>/<source>/pose3d    pose3d document, JSON or MessagePack        QoS 0, at most max_hz
<prefix>/<source>/events    {event_type: new | lost, id, source, t_capture_ns}   QoS 1
<prefix>/<source>/persons   how many are there, when it changes         QoS 0, retained
<prefix>/stats              status document, JSON                       QoS 0
<discovery>/device/<node>/config   for Home Assistant, when asked for   QoS 1, retained
"""

import re
from typing import NamedTuple

import msgspec

from stream.clock import Clock
from stream.messages import Message, Meta, PoseFrame, Status
from stream.wire import codec as wire


class Publication(NamedTuple):
    """One MQTT message."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


class Publications:
    """Turns messages into publications and knows what a broker must retain.

    max_hz: poses a second and source, evenly spaced in capture time, so that a burst is thinned too.
    discovery: Home Assistant's prefix, or None.
    """

    def __init__(
        self, prefix: str, node: str, format: wire.Format, max_hz: float, discovery: str | None
    ) -> None:
        self.available = f"{prefix}/available"
        self._prefix = prefix
        self._node = node
        self._format = format
        self._every_ns = round(1e9 / max_hz)
        self._discovery = discovery
        self._sent_ns: dict[str, int] = {}  # capture time of the last pose3d of each source
        self._present: dict[str, set[str]] = {}
        self._metas: dict[str, Meta] = {}

    def publications(self, message: Message, clock: Clock) -> list[Publication]:
        """What a message gives cause to publish."""
        match message:
            case PoseFrame():
                return [*self._changes(message), *self._pose(message, clock)]
            case Meta():
                return self._described(message)
            case Status():
                return [Publication(f"{self._prefix}/stats", wire.encode(message, "json"))]

    def retained(self) -> list[Publication]:
        """What every broker must know that has just let us in, also one that forgot everything."""
        return [
            Publication(self.available, b"online", 1, True),
            *(self._meta(meta) for meta in self._metas.values()),
            *(self._count(source) for source in self._present),
            *self.discovery(),
        ]

    def discovery(self) -> list[Publication]:
        """The device and its sensors, as Home Assistant wants to be told."""
        sources = sorted({*self._metas, *self._present})
        if self._discovery is None or not sources:
            return []
        node = re.sub(r"[^a-zA-Z0-9_-]", "_", self._node)
        document = {
            "device": {"identifiers": [f"poselift_{self._node}"], "name": self._node},
            "origin": {"name": "poselift"},
            "components": {
                f"{source}_{what}": self._component(source, what, extra)
                for source in sources
                for what, extra in _COMPONENTS.items()
            },
        }
        topic = f"{self._discovery}/device/{node}/config"
        return [Publication(topic, msgspec.json.encode(document), 1, True)]

    def _changes(self, frame: PoseFrame) -> list[Publication]:
        """Events of those who came and went, and the new count; every frame names everybody present."""
        source = frame.header.source
        first = source not in self._present
        before = self._present.get(source, set())
        now = {person.id for person in frame.persons if person.state != "lost"}
        self._present[source] = now
        changes = [("new", id) for id in sorted(now - before)] + [("lost", id) for id in sorted(before - now)]
        publications = [self._event(frame, kind, id) for kind, id in changes]
        if first or len(now) != len(before):
            publications.append(self._count(source))
        if first and source not in self._metas:
            publications += self.discovery()
        return publications

    def _pose(self, frame: PoseFrame, clock: Clock) -> list[Publication]:
        source, captured_ns = frame.header.source, frame.header.captured_ns
        since_ns = captured_ns - self._sent_ns.get(source, captured_ns - self._every_ns)
        leaving = any(person.state == "lost" for person in frame.persons)
        if 0 <= since_ns < self._every_ns and not leaving:
            return []
        # Keep the beat, unless it was lost: the rate is then right whatever the camera's is.
        late_ns = since_ns - self._every_ns
        self._sent_ns[source] = captured_ns - (late_ns if 0 <= late_ns < self._every_ns else 0)
        payload = wire.encode(wire.with_publish_time(frame, clock), self._format)
        return [Publication(f"{self._prefix}/{source}/pose3d", payload)]

    def _described(self, meta: Meta) -> list[Publication]:
        before = self._metas.get(meta.source)
        self._metas[meta.source] = meta
        if before == meta:
            return []
        is_known = before is not None or meta.source in self._present
        return [self._meta(meta), *([] if is_known else self.discovery())]

    def _meta(self, meta: Meta) -> Publication:
        return Publication(f"{self._prefix}/{meta.source}/meta", wire.encode(meta, "json"), 1, True)

    def _count(self, source: str) -> Publication:
        return Publication(f"{self._prefix}/{source}/persons", b"%d" % len(self._present[source]), 0, True)

    def _event(self, frame: PoseFrame, kind: str, id: str) -> Publication:
        source, unix_ns = frame.header.source, frame.header.captured_unix_ns
        document = {"event_type": kind, "id": id, "source": source, "t_capture_ns": unix_ns}
        return Publication(f"{self._prefix}/{source}/events", msgspec.json.encode(document), 1)

    def _component(self, source: str, what: str, extra: dict[str, object]) -> dict[str, object]:
        return {
            "name": f"{source} {what}",
            "unique_id": f"poselift_{self._node}_{source}_{what}",
            "state_topic": f"{self._prefix}/{source}/{'events' if what == 'events' else 'persons'}",
            "availability_topic": self.available,
            # "stopped" is not available either.
            "availability_template": "{{ 'online' if value == 'online' else 'offline' }}",
            **extra,
        }


_COMPONENTS: dict[str, dict[str, object]] = {
    "persons": {"platform": "sensor", "state_class": "measurement"},
    "presence": {
        "platform": "binary_sensor",
        "device_class": "occupancy",
        "value_template": "{{ 'ON' if value | int > 0 else 'OFF' }}",
    },
    "events": {"platform": "event", "event_types": ["new", "lost"]},
}
