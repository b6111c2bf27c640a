"""Home Assistant discovery: one device per node, with a count, a presence and an event entity per source."""

import re
from collections.abc import Iterable

import msgspec

_COMPONENTS: dict[str, dict[str, object]] = {
    "persons": {"platform": "sensor", "state_class": "measurement"},
    "presence": {
        "platform": "binary_sensor",
        "device_class": "occupancy",
        "value_template": "{{ 'ON' if value | int > 0 else 'OFF' }}",
    },
    "events": {"platform": "event", "event_types": ["new", "lost"]},
}


class HomeAssistant:
    """Discovery document of a node.

    discovery_prefix: Home Assistant's, "homeassistant" by default. prefix: of the node's own topics;
    available: the topic that holds whether the node is online.
    """

    def __init__(self, discovery_prefix: str, node: str, prefix: str, available: str) -> None:
        node_id = re.sub(r"[^a-zA-Z0-9_-]", "_", node)
        self.topic = f"{discovery_prefix}/device/{node_id}/config"
        self._node = node
        self._prefix = prefix
        self._available = available

    def document(self, sources: Iterable[str]) -> bytes:
        """The device with the entities of these sources, as JSON."""
        document = {
            "device": {"identifiers": [f"poselift_{self._node}"], "name": self._node},
            "origin": {"name": "poselift"},
            "components": {
                f"{source}_{entity}": self._component(source, entity, extra)
                for source in sources
                for entity, extra in _COMPONENTS.items()
            },
        }
        return msgspec.json.encode(document)

    def _component(self, source: str, entity: str, extra: dict[str, object]) -> dict[str, object]:
        return {
            "name": f"{source} {entity}",
            "unique_id": f"poselift_{self._node}_{source}_{entity}",
            "state_topic": f"{self._prefix}/{source}/{'events' if entity == 'events' else 'persons'}",
            "availability_topic": self._available,
            # A stopped node is not available either.
            "availability_template": "{{ 'online' if value == 'online' else 'offline' }}",
            **extra,
        }
