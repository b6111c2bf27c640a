"""Makes this machine part of a Ray cluster, with Ray's own command."""

import subprocess
import sys

from stream.cluster.connect import environment, require_ray
from stream.cluster.machine_list import NEAR
from stream.config.cluster import ClusterSettings
from stream.errors import ConfigError, PoseliftError

# Workers keep their data in their own memory; Ray's store holds configs alone. The least that Ray accepts.
_STORE_BYTES = 80 << 20


def start_arguments(
    settings: ClusterSettings, head: bool, near: str | None, cpus: float | None, gpus: float | None
) -> list[str]:
    """Arguments of `ray` that start its processes here. Raises ConfigError without an address."""
    if settings.address == "auto":
        raise ConfigError(
            "cluster.address: expected HOST:PORT of the head, so that machines can join, got auto"
        )
    host, _, port = settings.address.rpartition(":")
    arguments = ["start", "--disable-usage-stats", f"--object-store-memory={_STORE_BYTES}"]
    if head:
        arguments += ["--head", f"--node-ip-address={host}", f"--port={port}", "--include-dashboard=false"]
    else:
        arguments.append(f"--address={settings.address}")
    if near is not None:
        arguments.append(f"--labels={NEAR}={near}")
    if cpus is not None:
        arguments.append(f"--num-cpus={cpus:g}")
    if gpus is not None:
        arguments.append(f"--num-gpus={gpus:g}")
    return arguments


def start(
    settings: ClusterSettings, head: bool, near: str | None, cpus: float | None, gpus: float | None
) -> None:
    """Start Ray here, as the head or as another machine. Raises PoseliftError when it does not start."""
    _ray(start_arguments(settings, head, near, cpus, gpus))


def stop() -> None:
    """End Ray on this machine."""
    _ray(["stop"])


def _ray(arguments: list[str]) -> None:
    require_ray()
    command = [sys.executable, "-m", "ray.scripts.scripts", *arguments]
    done = subprocess.run(command, env=environment(), check=False)
    if done.returncode != 0:
        raise PoseliftError(f"`ray {arguments[0]}` ended with exit code {done.returncode}")
