import json

from sinks.mqtt.home_assistant import HomeAssistant


def test_the_topic_contains_the_node_without_characters_that_home_assistant_refuses():
    home_assistant = HomeAssistant("homeassistant", "node 1", "home/poselift", "home/poselift/available")
    assert home_assistant.topic == "homeassistant/device/node_1/config"


def test_every_source_has_a_count_a_presence_and_an_event_entity():
    home_assistant = HomeAssistant("homeassistant", "node 1", "home/poselift", "home/poselift/available")
    document = json.loads(home_assistant.document(["cam0"]))
    shared = {
        "availability_topic": "home/poselift/available",
        "availability_template": "{{ 'online' if value == 'online' else 'offline' }}",
    }
    assert document == {
        "device": {"identifiers": ["poselift_node 1"], "name": "node 1"},
        "origin": {"name": "poselift"},
        "components": {
            "cam0_persons": {
                "platform": "sensor",
                "name": "cam0 persons",
                "unique_id": "poselift_node 1_cam0_persons",
                "state_topic": "home/poselift/cam0/persons",
                "state_class": "measurement",
                **shared,
            },
            "cam0_presence": {
                "platform": "binary_sensor",
                "name": "cam0 presence",
                "unique_id": "poselift_node 1_cam0_presence",
                "state_topic": "home/poselift/cam0/persons",
                "device_class": "occupancy",
                "value_template": "{{ 'ON' if value | int > 0 else 'OFF' }}",
                **shared,
            },
            "cam0_events": {
                "platform": "event",
                "name": "cam0 events",
                "unique_id": "poselift_node 1_cam0_events",
                "state_topic": "home/poselift/cam0/events",
                "event_types": ["new", "lost"],
                **shared,
            },
        },
    }
