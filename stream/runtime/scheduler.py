"""Whose windows are lifted next, and how many at once.

Every source that wants it gets an even share of the lifter's time: whoever was served least goes first.
So one with twenty people does not make one with a single person wait. Only a pass that an even share would
finish too late, after poses waiting behind it are lost, goes before its turn, the earliest deadline first,
as long as it can still be saved.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from lifter.spec import MAX_WINDOWS
from stream.clock import Clock

_BATCH_S = 0.05  # longer than this nobody waits for somebody else's windows, nor does a stop
_FIRST = 4  # windows at once while nothing is known
_KEEP = 0.9  # weight of what was measured before, per batch


class Schedulable(Protocol):
    """A source whose poses wait (an intake)."""

    @property
    def filled(self) -> float:
        """How much of what may wait does, 0 to 1; at 1 poses are lost."""
        ...


T = TypeVar("T", bound=Schedulable)


class BatchCostModel:
    """What a batch takes: a fixed time and a time per window, fitted to the latest batches.

    window_s: what one window more adds.
    """

    def __init__(self) -> None:
        self.window_s = 0.0
        self._sums = np.zeros(5)  # of 1, windows, windows squared, seconds, windows x seconds
        self._largest = _FIRST / 2  # windows of a batch lately

    def took(self, windows: int, seconds: float) -> None:
        """Learn from a batch."""
        self._sums *= _KEEP
        self._sums += (1, windows, windows**2, seconds, windows * seconds)
        self._largest = max(_KEEP * self._largest, windows)
        self.window_s = self._fitted()

    def _fitted(self) -> float:
        weight, n, squares, seconds, products = self._sums.tolist()
        spread = weight * squares - n**2
        if spread < 1e-3 * n**2:  # batches all alike do not tell: take nothing for fixed
            return seconds / n
        return min(max((weight * products - n * seconds) / spread, 0.0), seconds / n)

    def windows(self) -> int:
        """How many to lift at once: what fits in the time, but enough to be worth the fixed part.

        No more than twice as many as were seen, since beyond that the fit is a guess.
        """
        most = max(1, min(MAX_WINDOWS, int(2 * self._largest)))
        each_s = self.window_s
        if not each_s:
            return most
        weight, n, _, seconds, _ = self._sums.tolist()
        fixed_s = (seconds - each_s * n) / weight
        return max(1, min(most, int(max(_BATCH_S - fixed_s, fixed_s) / each_s)))


@dataclass(slots=True, eq=False)
class _Account:
    """served_s: lifter time had so far.

    Of the open pass: when it began, how full the source was then, and how many windows are left.
    """

    served_s: float = 0.0
    begun_ns: int = 0
    filled: float = 0.0
    left: int = 0


class FairScheduler:
    """Turns of sources: `order` says whose it is; `begin` and `served` tell it what happens."""

    def __init__(self, clock: Clock) -> None:
        self.cost = BatchCostModel()
        self._clock = clock
        self._accounts: dict[Schedulable, _Account] = {}
        self._most_s = 0.0  # served_s of whoever was served most

    def order(self, sources: Iterable[T]) -> list[T]:
        """The sources, whoever is next first."""
        accounts = {source: self._account(source) for source in sources}
        if len(accounts) < 2:
            return list(accounts)
        waiting = 0  # how many want to be served; only who has begun may be urgent
        if any(account.left for account in accounts.values()):
            waiting = sum(account.left > 0 or source.filled > 0 for source, account in accounts.items())
        least_s, window_s = self._least_s(), self.cost.window_s

        def key(source: T) -> tuple[float, float, float]:
            account = accounts[source]
            deadline_s = math.inf
            if account.left:
                left_s, lost_in_s = account.left * window_s, self._lost_in_s(source, account)
                deadline_s = lost_in_s if left_s <= lost_in_s < waiting * left_s else math.inf
            return deadline_s, max(account.served_s, least_s), account.served_s

        return sorted(accounts, key=key)

    def begin(self, source: Schedulable, windows: int) -> None:
        """A pass over this source's people begins."""
        account = self._account(source)
        account.begun_ns, account.filled, account.left = self._clock.now_ns(), source.filled, windows

    def served(self, batch: Sequence[Schedulable], seconds: float) -> None:
        """A batch was lifted, of one window each of these sources; of one that is named twice, of two."""
        self.cost.took(len(batch), seconds)
        least_s = self._least_s()
        for source in batch:
            account = self._account(source)
            account.served_s = max(account.served_s, least_s) + seconds / len(batch)
            account.left -= 1
            self._most_s = max(self._most_s, account.served_s)

    def _least_s(self) -> float:
        """Lifter time all are taken to have had: who did not ask for more is owed two batches at most."""
        return self._most_s - 2 * max(_BATCH_S, self.cost.window_s)

    def _lost_in_s(self, source: Schedulable, account: _Account) -> float:
        """How long until poses are lost behind the open pass, as they came since it began."""
        came = source.filled - account.filled
        if not account.left or came <= 0:
            return math.inf
        return (1 - source.filled) / came * (self._clock.now_ns() - account.begun_ns) / 1e9

    def _account(self, source: Schedulable) -> _Account:
        return self._accounts.setdefault(source, _Account())
