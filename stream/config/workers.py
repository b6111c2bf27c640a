"""Setting `workers` of a config: how many processes run the sources."""

from typing import Literal

import msgspec

from stream.config.convert import to_struct
from stream.errors import ConfigError


class WorkerRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number of workers that follows the load.

    min: Workers at the start, and at least.

    max: Workers at most.

    poses_per_s: Poses per second (people times rate) that one worker publishes well. Above it another worker
    takes some of its sources; a worker is drained when the others would have less than half of it each.

    after_s: For how many seconds the load must stay above or below before sources move. Every move of a
    source gives its people new ids.
    """

    max: int
    min: int = 1
    poses_per_s: float = 1000.0
    after_s: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max:
            raise ConfigError(f"workers: expected min from 1 and max from min, got {self.min} and {self.max}")
        if not self.poses_per_s > 0 or not self.after_s > 0:
            raise ConfigError(
                "workers: expected poses_per_s and after_s above 0, got "
                f"{self.poses_per_s} and {self.after_s}"
            )


Workers = int | Literal["auto"] | WorkerRange


def check_workers(value: object, sources: int) -> Workers:
    """The setting as a struct or a number. Raises ConfigError when it is none, or above `sources`."""
    if value == "auto":
        return "auto"
    if isinstance(value, dict):
        workers: WorkerRange = to_struct(WorkerRange, value, "workers")
        if workers.max > sources:
            raise ConfigError(
                f"workers.max: expected up to {sources}, the number of sources, got {workers.max}"
            )
        return workers
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= sources:
        raise ConfigError(
            f"workers: expected 1 to {sources}, the number of sources, which are divided among the workers, "
            f"auto, or {{min: 1, max: {sources}}}, got {value!r}"
        )
    return value
