"""Home Assistant discovery: one device per node. Every source has a count, a presence, an event and a camera
entity; the node has its health and the age of its poses.
"""

import json
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

import msgspec

EXPIRE_S = 60  # without a status message for so long, health, age and cameras are unknown

_COMPONENTS: dict[str, dict[str, object]] = {
    "persons": {"platform": "sensor", "state_class": "measurement"},
    "presence": {
        "platform": "binary_sensor",
        "device_class": "occupancy",
        "value_template": "{{ 'ON' if value | int > 0 else 'OFF' }}",
    },
    "events": {"platform": "event", "event_types": ["new", "lost"]},
}
_DIAGNOSTIC: dict[str, object] = {"entity_category": "diagnostic", "expire_after": EXPIRE_S}
_STATES = "value_json.report.states"
_NODE_COMPONENTS: dict[str, dict[str, object]] = {
    "health": {
        "platform": "binary_sensor",
        "device_class": "problem",
        "value_template": "{{ 'ON' if " + _STATES + ".values() | rejectattr('state', 'in', "
        "['ok', 'ended', 'waiting']) | list else 'OFF' }}",
    },
    "age": {
        "platform": "sensor",
        "device_class": "duration",
        "unit_of_measurement": "ms",
        "value_template": "{{ (value_json.report.stages_ms.age | default({})).p50 | default(none) }}",
    },
}


class HomeAssistant:
    """Discovery document of a node.

    discovery_prefix: Home Assistant's, "homeassistant" by default. prefix: of the node's own topics;
    available: the topic that holds whether the node is online. viewer_url: page that the device links to.
    """

    def __init__(
        self, discovery_prefix: str, node: str, prefix: str, available: str, viewer_url: str | None = None
    ) -> None:
        node_id = re.sub(r"[^a-zA-Z0-9_-]", "_", node)
        self.topic = f"{discovery_prefix}/device/{node_id}/config"
        self._node = node
        self._prefix = prefix
        self._available = available
        self._viewer_url = viewer_url

    def document(self, sources: Iterable[str]) -> bytes:
        """The device with the entities of the node and of these sources, as JSON."""
        components: dict[str, object] = {
            name: self._component(name, "stats", extra | _DIAGNOSTIC)
            for name, extra in _NODE_COMPONENTS.items()
        }
        for source in sources:
            for entity, extra in _COMPONENTS.items():
                topic = f"{source}/{'events' if entity == 'events' else 'persons'}"
                components[f"{source}_{entity}"] = self._component(f"{source} {entity}", topic, extra)
            components[f"{source}_camera"] = self._component(f"{source} camera", "stats", _camera(source))
        document = {
            "device": self._device(),
            "origin": {"name": "poselift", "sw_version": _version()},
            # A stopped node is not available either.
            "availability": [
                {
                    "topic": self._available,
                    "value_template": "{{ 'online' if value == 'online' else 'offline' }}",
                }
            ],
            "qos": 1,
            "components": components,
        }
        return msgspec.json.encode(document)

    def _device(self) -> dict[str, object]:
        device: dict[str, object] = {
            "identifiers": [f"poselift_{self._node}"],
            "name": self._node,
            "manufacturer": "poselift",
            "model": "3D human poses",
            "sw_version": _version(),
        }
        return device | ({"configuration_url": self._viewer_url} if self._viewer_url else {})

    def _component(self, name: str, topic: str, extra: dict[str, object]) -> dict[str, object]:
        unique_id = f"poselift_{self._node}_{name.replace(' ', '_')}"
        return {"name": name, "unique_id": unique_id, "state_topic": f"{self._prefix}/{topic}", **extra}


def _camera(source: str) -> dict[str, object]:
    """Whether a source delivers frames; unknown for a source that the status does not list."""
    state = f"{_STATES}[{json.dumps(source)}]"
    template = "{{ iif(" + state + ".state == 'ok', 'ON', 'OFF') if " + state + " is defined }}"
    return {
        "platform": "binary_sensor",
        "device_class": "connectivity",
        "value_template": template,
        **_DIAGNOSTIC,
    }


def _version() -> str:
    try:
        return version("poselift")
    except PackageNotFoundError:
        return "unknown"
