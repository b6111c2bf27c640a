"""The connection of this process to a Ray cluster, without Ray's telemetry."""

import importlib.util
import logging
import os
import socket
from typing import Any

from stream.errors import ConfigError

NAMESPACE = "poselift"
_ANSWER_S = 5.0
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray reports nothing to its makers
    "RAY_worker_niceness": "0",  # its default lets other processes starve workers
}


def environment() -> dict[str, str]:
    """Environment of processes that use Ray."""
    return os.environ | _SETTINGS


def require_ray() -> None:
    """Raise ConfigError without the package."""
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("a cluster needs Ray: pip install 'poselift[ray]'")


def ray_module() -> Any:
    """The module `ray`, whose decorators and stubs no type checker follows."""
    import ray

    return ray


def connect(address: str) -> None:
    """Join the cluster at `address` as a driver. Raises ConfigError without Ray or without a cluster."""
    require_ray()
    if address != "auto":
        _require_answer(address)
    os.environ.update(_SETTINGS)
    ray = ray_module()
    try:
        ray.init(
            address=address,
            namespace=NAMESPACE,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"cluster.address: the Ray cluster at {address} cannot be joined: {error}; this machine must be "
            "part of it (`poselift cluster up`), with the same token if it demands one"
        ) from None


def _require_answer(address: str) -> None:
    """Raise ConfigError unless a program listens at `address`: Ray itself would look for it for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except OSError as error:
        raise ConfigError(
            f"cluster.address: no program listens at {address}: {error.strerror or error}; "
            "`poselift cluster up --head` starts Ray there"
        ) from None


def disconnect() -> None:
    ray_module().shutdown()


def nodes() -> list[dict[str, Any]]:
    """The machines of the cluster, as Ray lists them."""
    listed: list[dict[str, Any]] = ray_module().nodes()
    return listed
