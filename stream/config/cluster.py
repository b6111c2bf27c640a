"""Section `cluster` of a config: how workers run on many machines."""

import msgspec

from stream.errors import ConfigError


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `cluster` of a config: the machines on which `poselift cluster run` runs the workers.

    address: Ray's head as HOST:PORT, or auto for the cluster of this machine.

    host: Address of this machine's network interface that the workers connect to.

    worker_cpus: CPUs that Ray reserves for a worker.

    worker_gpus: GPUs that Ray reserves for a worker; a fraction shares one among several workers.

    spares: Workers of each place that have loaded the lifter and wait for the sources of one that fails. A
    machine that dies needs as many elsewhere as it had workers; without them its sources wait until the
    lifter is loaded.

    near: Sources that run near a place, by the name of the source: the value of the label `near` of the
    machines there (`poselift cluster up --near`). While no such machine is in the cluster, they run anywhere.

    lease_s: For how many seconds a worker may publish without hearing from the supervisor. The sources of a
    silent worker move after 1.2 of that. Raise it where machines or the network are busy.

    return_s: For how many seconds a machine of the place must have been in the cluster before sources that
    run elsewhere go back to it.
    """

    address: str = "auto"
    host: str = "127.0.0.1"
    worker_cpus: float = 1.0
    worker_gpus: float = 0.0
    spares: int = 1
    near: dict[str, str] = {}
    lease_s: float = 1.5
    return_s: float = 30.0

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if self.address != "auto" and not (host and port.isdecimal() and int(port) < 65536):
            raise ConfigError(f"cluster.address: expected HOST:PORT or auto, got {self.address!r}")
        if not 0.5 <= self.lease_s <= 600:
            raise ConfigError(f"cluster.lease_s: expected 0.5 to 600 seconds, got {self.lease_s}")
        if not 0 <= self.return_s <= 86_400:
            raise ConfigError(f"cluster.return_s: expected 0 to 86400 seconds, got {self.return_s}")
        if not 0 <= self.spares <= 1000:
            raise ConfigError(f"cluster.spares: expected 0 to 1000, got {self.spares}")
        if not 0 < self.worker_cpus <= 1024 or not 0 <= self.worker_gpus <= 64:
            raise ConfigError(
                "cluster: expected worker_cpus above 0 and worker_gpus from 0, got "
                f"{self.worker_cpus} and {self.worker_gpus}"
            )
