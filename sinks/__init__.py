"""Sinks: where poses go. `type:` in a config names an entry; its module is imported only then."""

SINKS = {
    "zeromq": "sinks.zeromq:ZeroMQ",
    "mqtt": "sinks.mqtt:MQTT",
    "jsonl": "sinks.jsonl:JSONL",
    "npz": "sinks.npz:NPZ",
    "console": "sinks.console:Console",
    "browser": "sinks.browser:Browser",
    "memory": "sinks.memory:Memory",
}
