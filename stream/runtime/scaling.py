"""Decides from the measured load when another worker is started, and when one is drained.

A worker is overloaded with more than `poses_per_s`. Sources then move to the worker with the least load of
the same place, if both then stay well below the limit, else to another worker. A worker is drained when the
others then stay far below the limit. Between the two limits nothing moves, and neither does anything before
the load has stayed above or below for `after_s`.
"""

from collections.abc import Callable, Hashable, Sequence

from stream.clock import Clock
from stream.config.workers import WorkerRange
from stream.runtime.share import Share

_RELIEVED = 0.8  # of the limit: the load of two workers after sources have moved from one to the other
_IDLE = 0.5  # of the limit: the load of the others after a worker is drained

Parts = dict[Share, tuple[str, ...]]


class Scaler:
    """Makes one change at a time; call `step` about once a second.

    load: poses per second of a share.
    """

    def __init__(self, settings: WorkerRange, load: Callable[[Share], float], clock: Clock) -> None:
        self._settings, self._load, self._clock = settings, load, clock
        self._since_ns: dict[Hashable, int] = {}  # when each condition that holds began to hold

    def step(self, shares: Sequence[Share]) -> Parts:
        """The new sources of the shares that change, {} for none; an added share may be a new one."""
        now_ns = self._clock.now_ns()
        changes = self._changes(shares)
        self._since_ns = {key: self._since_ns.get(key, now_ns) for key in changes}
        for key, since_ns in self._since_ns.items():
            if now_ns - since_ns >= self._settings.after_s * 1e9:
                self._since_ns = {}  # the other conditions are measured anew
                return changes[key]
        return {}

    def text(self, shares: Sequence[Share]) -> str:
        """The number of workers and their load, for status messages."""
        active = [share for share in shares if share.sources]
        total = sum(map(self._load, active))
        limits = self._settings
        return (
            f"{len(active)} of {limits.min} to {limits.max}, {total:.0f} poses per second, "
            f"at most {limits.poses_per_s:g} each"
        )

    def _changes(self, shares: Sequence[Share]) -> dict[Hashable, Parts]:
        """The change that each condition asks for, by place and direction."""
        active = [share for share in shares if share.sources]
        changes: dict[Hashable, Parts] = {}
        for near in dict.fromkeys(share.near for share in active):
            place = [share for share in active if share.near == near]
            if parts := self._relief(shares, active, place):
                changes[near, "up"] = parts
            elif parts := self._drain(active, place):
                changes[near, "down"] = parts
        return changes

    def _relief(self, shares: Sequence[Share], active: Sequence[Share], place: Sequence[Share]) -> Parts:
        """Sources of the busiest worker for another one, when it is overloaded."""
        divisible = [share for share in place if len(share.sources) > 1]
        busiest = max(divisible, key=self._load, default=None)
        if busiest is None or self._load(busiest) <= self._settings.poses_per_s:
            return {}
        other = min((share for share in place if share is not busiest), key=self._load, default=None)
        if (
            other is None
            or self._load(busiest) + self._load(other) > 2 * _RELIEVED * self._settings.poses_per_s
        ):
            if len(active) >= self._settings.max:
                return {}
            other = next(
                (share for share in shares if share.near == busiest.near and not share.sources),
                Share(f"worker-{len(shares) + 1}", (), busiest.near),
            )
        each = self._load(busiest) / len(busiest.sources)
        other_load = self._load(other) if other.sources else 0.0
        count = int((self._load(busiest) - other_load) / 2 / each)
        if count == 0:
            return {}
        return {busiest: busiest.sources[:-count], other: (*other.sources, *busiest.sources[-count:])}

    def _drain(self, active: Sequence[Share], place: Sequence[Share]) -> Parts:
        """The sources of the least busy worker for the others, when these can carry them easily."""
        if len(active) <= self._settings.min or len(place) == 1:
            return {}
        if sum(map(self._load, place)) > _IDLE * self._settings.poses_per_s * (len(place) - 1):
            return {}
        idlest = min(place, key=self._load)
        each = self._load(idlest) / len(idlest.sources)
        loads = {share: self._load(share) for share in place if share is not idlest}
        parts = {share: list(share.sources) for share in loads}
        for name in idlest.sources:
            share = min(loads, key=lambda share: (loads[share], len(parts[share])))
            parts[share].append(name)
            loads[share] += each
        return {idlest: ()} | {share: tuple(names) for share, names in parts.items()}
