"""Poses, presence and health over MQTT."""

from sinks.mqtt.sink import MQTT as MQTT
