import json
from importlib.metadata import version

import jinja2

from sinks.mqtt.home_assistant import EXPIRE_S, HomeAssistant


def document(viewer_url: str | None = None) -> dict:
    topics = "home/poselift", "home/poselift/available"
    return json.loads(HomeAssistant("homeassistant", "node 1", *topics, viewer_url).document(["cam0"]))


def test_the_topic_contains_the_node_without_characters_that_home_assistant_refuses():
    home_assistant = HomeAssistant("homeassistant", "node 1", "home/poselift", "home/poselift/available")
    assert home_assistant.topic == "homeassistant/device/node_1/config"


def test_the_device_has_a_version_and_one_availability_for_all_entities():
    found = document()
    del found["components"]
    assert found == {
        "device": {
            "identifiers": ["poselift_node 1"],
            "name": "node 1",
            "manufacturer": "poselift",
            "model": "3D human poses",
            "sw_version": version("poselift"),
        },
        "origin": {"name": "poselift", "sw_version": version("poselift")},
        "availability": [
            {
                "topic": "home/poselift/available",
                "value_template": "{{ 'online' if value == 'online' else 'offline' }}",
            }
        ],
        "qos": 1,
    }


def test_the_device_links_to_the_viewer():
    assert document("http://192.0.2.1:8765")["device"]["configuration_url"] == "http://192.0.2.1:8765"


def test_every_source_has_a_count_a_presence_an_event_and_a_camera_entity():
    components = document()["components"]
    assert {name: components[name] for name in components if name.startswith("cam0")} == {
        "cam0_persons": {
            "platform": "sensor",
            "name": "cam0 persons",
            "unique_id": "poselift_node 1_cam0_persons",
            "state_topic": "home/poselift/cam0/persons",
            "state_class": "measurement",
        },
        "cam0_presence": {
            "platform": "binary_sensor",
            "name": "cam0 presence",
            "unique_id": "poselift_node 1_cam0_presence",
            "state_topic": "home/poselift/cam0/persons",
            "device_class": "occupancy",
            "value_template": "{{ 'ON' if value | int > 0 else 'OFF' }}",
        },
        "cam0_events": {
            "platform": "event",
            "name": "cam0 events",
            "unique_id": "poselift_node 1_cam0_events",
            "state_topic": "home/poselift/cam0/events",
            "event_types": ["new", "lost"],
        },
        "cam0_camera": {
            "platform": "binary_sensor",
            "name": "cam0 camera",
            "unique_id": "poselift_node 1_cam0_camera",
            "state_topic": "home/poselift/stats",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "expire_after": EXPIRE_S,
            "value_template": components["cam0_camera"]["value_template"],
        },
    }


def test_templates_give_the_state_of_cameras_the_health_and_the_age():
    components = document()["components"]
    report = {
        "states": {"cam0": {"state": "retrying", "detail": ""}, "mqtt": {"state": "ok", "detail": ""}},
        "stages_ms": {"age": {"p50": 31.5}},
    }

    def rendered(name: str, **changes: object) -> str:
        return render(components[name]["value_template"], {"report": report | changes})

    assert [rendered(name) for name in ("cam0_camera", "health", "age")] == ["OFF", "ON", "31.5"]
    healthy = {"cam0": {"state": "ok", "detail": ""}}
    assert [rendered(name, states=healthy) for name in ("cam0_camera", "health")] == ["ON", "OFF"]
    assert rendered("cam0_camera", states={}) == ""
    assert rendered("age", stages_ms={}) == "None"


def render(template: str, value: dict) -> str:
    """The template rendered by Jinja, with the one function of Home Assistant's that it uses."""
    environment = jinja2.Environment()
    environment.globals["iif"] = lambda value, true, false: true if value else false
    return environment.from_string(template).render(value_json=value)
