"""Orders to a worker on another machine as MessagePack: sources and scene as plain values, or nil to stop."""

from typing import Any

import msgspec

from stream.config.load import Config, with_sources
from stream.errors import ConfigError
from stream.runtime.worker import Order


class _Cameras(msgspec.Struct, forbid_unknown_fields=True):
    """What an order can change in the config of a worker."""

    sources: dict[str, dict[str, Any]]
    scene: dict[str, Any]


_decode = msgspec.msgpack.Decoder(_Cameras | None).decode


def encode_order(order: Order) -> bytes:
    """The sources and the scene of an order; its other settings are those of the start."""
    if order is None:
        return msgspec.msgpack.encode(None)
    sources = {name: source.to_dict() for name, source in order.sources.items()}
    return msgspec.msgpack.encode(_Cameras(sources, msgspec.to_builtins(order.scene)))


def decode_order(payload: bytes, config: Config) -> Order:
    """The order of a worker that was started with `config`. Raises ConfigError for anything else."""
    try:
        cameras = _decode(payload)
    except ValueError as error:
        raise ConfigError(f"an order of the supervisor cannot be read: {error}") from None
    return None if cameras is None else with_sources(config, cameras.sources, cameras.scene)
