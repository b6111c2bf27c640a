from importlib import import_module

import pytest

from sinks import SINKS
from stream.protocols import ComponentContext

ENDPOINTS = {
    "zeromq": "tcp://127.0.0.1:5555",
    "mqtt": "mqtt://127.0.0.1:1883/poselift",
    "jsonl": "poses.jsonl",
    "npz": "poses.npz",
    "console": "",
    "memory": "",
}


@pytest.mark.parametrize(("kind", "endpoint"), ENDPOINTS.items())
def test_a_sink_has_an_endpoint_before_it_is_open_and_can_be_closed_without_opening(kind, endpoint):
    module, name = SINKS[kind].split(":")
    component = getattr(import_module(module), name)
    sink = component(component.Settings(), ComponentContext(kind))
    sink.close()
    assert sink.endpoint == endpoint
    assert 0 <= sink.close_timeout_s <= 60
