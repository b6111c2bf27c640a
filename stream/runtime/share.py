"""A share of a config's sources, which one worker at a time runs."""

from dataclasses import dataclass, field

from stream.clock import Backoff
from stream.runtime.worker_process import WorkerProcess

STABLE_NS = 10_000_000_000  # a worker that ran this long is replaced without a delay


@dataclass(slots=True, eq=False)
class Share:
    """Sources that run in one worker.

    name: in status messages; the same for every worker that has these sources. ended: all sources have ended.
    not_before_ns: the next worker gets the sources at that time or later.
    """

    name: str
    sources: tuple[str, ...]
    worker: WorkerProcess | None = None
    ended: bool = False
    started_ns: int = 0
    not_before_ns: int = 0
    _backoff: Backoff = field(default_factory=lambda: Backoff(0.5, 30.0))
    _failures: int = 0  # in a row, each soon after its start

    @property
    def waits(self) -> bool:
        """Whether the share needs a worker."""
        return self.worker is None and not self.ended

    def start(self, worker: WorkerProcess, now_ns: int) -> None:
        """Give the sources to a worker that is ready."""
        worker.assign(self.sources)
        self.worker, self.started_ns = worker, now_ns

    def end(self, exit_code: int | None, now_ns: int) -> None:
        """The worker has ended; the first replacement may come at once, later ones after growing delays."""
        self.worker, self.ended = None, exit_code == 0
        if now_ns - self.started_ns > STABLE_NS:
            self._failures = 0
            self._backoff.reset()
        self._failures += 1
        delay_s = self._backoff.next_delay_s() if self._failures > 1 else 0.0
        self.not_before_ns = now_ns + round(delay_s * 1e9)


def divide(sources: list[str], workers: int) -> list[Share]:
    """The shares of `workers`: sources are dealt out in turn, so that their numbers differ by one at most."""
    return [Share(f"worker-{first + 1}", tuple(sources[first::workers])) for first in range(workers)]
