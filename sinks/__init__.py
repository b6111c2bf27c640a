"""Sinks: where poses go. `type:` in a config names an entry; its module is imported only then."""

SINKS = {
    "zeromq": "sinks.zeromq:ZeroMQ",
    "mqtt": "sinks.mqtt:MQTT",
    "jsonl": "sinks.jsonl:JSONL",
    "npz": "sinks.npz:NPZ",
    "bvh": "sinks.bvh:BVH",
    "gltf": "sinks.gltf:GLTF",
    "mcap": "sinks.mcap:MCAP",
    "vmc": "sinks.vmc:VMC",
    "ros2": "sinks.ros2:ROS2",
    "sonic": "sinks.sonic:SONIC",
    "prometheus": "sinks.prometheus:Prometheus",
    "console": "sinks.console:Console",
    "browser": "sinks.browser:Browser",
    "memory": "sinks.memory:Memory",
}

# Sinks whose output is made of joint rotations; `lifter.rotations: auto` computes them for these.
ROTATION_SINKS = frozenset(("bvh", "gltf", "mcap", "vmc", "ros2", "sonic"))
