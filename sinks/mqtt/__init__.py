"""MQTT sink: poses, presence and health at a broker."""

from sinks.mqtt.sink import MQTT as MQTT
