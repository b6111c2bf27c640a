"""A share of a config's sources, which one worker at a time runs."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from stream.clock import Backoff
from stream.config.load import Config

if TYPE_CHECKING:
    from stream.runtime.worker_host import WorkerHost

STABLE_NS = 10_000_000_000  # a worker that ran this long is replaced without a delay


@dataclass(slots=True, eq=False)
class Share:
    """Sources that run in one worker.

    near: label of the place where its worker should run, "" for any.
    name: in status messages; the same for every worker that has these sources. ended: all sources have ended.
    not_before_ns: the next worker gets the sources at that time or later.
    """

    name: str
    sources: tuple[str, ...]
    near: str = ""
    worker: "WorkerHost | None" = None
    ended: bool = False
    started_ns: int = 0
    not_before_ns: int = 0
    _backoff: Backoff = field(default_factory=lambda: Backoff(0.5, 30.0))
    _failures: int = 0  # in a row, each soon after its start
    _unconfirmed_orders: int = 0  # to the worker

    @property
    def waits(self) -> bool:
        """Whether the share needs a worker."""
        return self.worker is None and not self.ended

    @property
    def settled(self) -> bool:
        """Whether its worker has carried out all orders, or needs none."""
        return self.ended or (self.worker is not None and self._unconfirmed_orders <= 0)

    def start(self, worker: "WorkerHost", config: Config, now_ns: int) -> None:
        """Give the sources, with their settings in `config`, to a worker that is ready."""
        worker.assign(self._part_of(config))
        self.worker, self.started_ns = worker, now_ns
        self._unconfirmed_orders = 1

    def change(self, sources: tuple[str, ...], config: Config) -> None:
        """Run these sources from now on, with their settings in `config`."""
        self.sources = sources
        if self.worker is not None:
            self.worker.change(self._part_of(config))
            self._unconfirmed_orders += 1
        else:
            self.ended = not sources

    def confirm(self) -> None:
        """The worker has carried out an order."""
        self._unconfirmed_orders -= 1

    def end(self, exit_code: int | None, now_ns: int) -> None:
        """The worker has ended; the first replacement may come at once, later ones after growing delays."""
        # A worker whose sources have ended may miss an order to run others.
        self.worker, self.ended = None, exit_code == 0 and self._unconfirmed_orders <= 0
        if now_ns - self.started_ns > STABLE_NS:
            self._failures = 0
            self._backoff.reset()
        self._failures += 1
        delay_s = self._backoff.next_delay_s() if self._failures > 1 else 0.0
        self.not_before_ns = now_ns + round(delay_s * 1e9)

    def _part_of(self, config: Config) -> Config:
        return replace(config, sources={name: config.sources[name] for name in self.sources})


def divide(sources: list[str], workers: int) -> list[Share]:
    """The shares of `workers`: sources are dealt out in turn, so that their numbers differ by one at most."""
    return [Share(f"worker-{first + 1}", tuple(sources[first::workers])) for first in range(workers)]


def redistribute(
    shares: Sequence[Share],
    added: Sequence[str],
    removed: Collection[str],
    load: Callable[[Share], float],
    near: Callable[[str], str] = lambda source: "",
    idle_last: bool = False,
) -> dict[Share, tuple[str, ...]]:
    """The sources of every share after a change: each added one goes to the share with the least load.

    load: poses per second of a share, of which a new source counts as an average one. Of shares with equal
    loads the one with the fewest sources comes first. near: label of the place where a source should run; the
    first source of a place gets a new share. idle_last: shares without sources get some only when their place
    has no other share.
    """
    sources = {share: [name for name in share.sources if name not in removed] for share in shares}
    loads = {share: load(share) for share in shares}
    average = sum(loads.values()) / max(1, sum(len(share.sources) for share in shares))
    for name in added:
        candidates = [share for share in sources if share.near == near(name)]
        if not candidates:
            candidates = [Share(f"worker-{len(sources) + 1}", (), near(name))]
            sources[candidates[0]], loads[candidates[0]] = [], 0.0
        share = min(
            candidates,
            key=lambda share: (idle_last and not sources[share], loads[share], len(sources[share])),
        )
        sources[share].append(name)
        loads[share] += average
    return {share: tuple(names) for share, names in sources.items()}
