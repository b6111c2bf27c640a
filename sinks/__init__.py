"""Where 3D poses go: `type:` in a config picks an entry; files import libraries when opened."""

SINKS = {
    "zeromq": "sinks.zeromq:ZeroMQ",
    "mqtt": "sinks.mqtt:MQTT",
    "jsonl": "sinks.jsonl:JSONL",
    "npz": "sinks.npz:NPZ",
    "console": "sinks.console:Console",
    "memory": "sinks.memory:Memory",
}
