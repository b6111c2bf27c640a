"""Which source's windows are lifted next, and how many at once.

Sources with pending frames get equal shares of the lifter's time: the source that had the least goes first,
so a source with twenty people does not make a source with a single person wait. One pass may go before its
turn: when an equal share would finish it only after frames behind it overflow, and it can still be finished
in time. The earliest such deadline goes first.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from lifter.spec import MAX_WINDOWS
from stream.clock import Clock

_TARGET_BATCH_S = 0.05  # target duration of a batch: bounds the wait of other sources and of shutdown
_FIRST_BATCH = 4  # windows per batch before the first measurement
_DECAY = 0.9  # weight of earlier measurements, per batch


class Schedulable(Protocol):
    """A source with pending frames, such as a CameraBuffer."""

    @property
    def fill_level(self) -> float:
        """From 0, empty, to 1, where frames are lost."""
        ...


T = TypeVar("T", bound=Schedulable)


class BatchCostModel:
    """Time of a batch: a fixed part and a part per window, fitted to the latest batches.

    window_s: seconds that one more window adds.
    """

    def __init__(self) -> None:
        self.window_s = 0.0
        self._sums = np.zeros(5)  # of 1, windows, windows squared, seconds, windows x seconds
        self._largest = _FIRST_BATCH / 2  # windows of the largest recent batch

    def observe(self, windows: int, seconds: float) -> None:
        """Learn from a batch of `windows` that took `seconds`."""
        self._sums *= _DECAY
        self._sums += (1, windows, windows**2, seconds, windows * seconds)
        self._largest = max(_DECAY * self._largest, windows)
        self.window_s = self._fit_window_s()

    def _fit_window_s(self) -> float:
        weight, windows, squares, seconds, products = self._sums.tolist()
        spread = weight * squares - windows**2
        if spread < 1e-3 * windows**2:  # batches of one size cannot separate the parts: assume no fixed part
            return float(seconds / windows)
        slope_s = (weight * products - windows * seconds) / spread
        return float(min(max(slope_s, 0.0), seconds / windows))

    def batch_size(self) -> int:
        """Windows to lift at once: as many as fit the target time, but enough to be worth the fixed part.

        At most twice the largest recent batch, since the fit is a guess beyond that.
        """
        max_windows = max(1, min(MAX_WINDOWS, int(2 * self._largest)))
        if not self.window_s:
            return max_windows
        weight, windows, _, seconds, _ = self._sums.tolist()
        fixed_s = (seconds - self.window_s * windows) / weight
        worthwhile = int(max(_TARGET_BATCH_S - fixed_s, fixed_s) / self.window_s)
        return max(1, min(max_windows, worthwhile))


@dataclass(slots=True, eq=False)
class _Account:
    """charged_s: lifter time of a source so far.

    Of its open pass: when it began, the fill level then, and the windows that are not lifted yet.
    """

    charged_s: float = 0.0
    started_ns: int = 0
    start_level: float = 0.0
    remaining: int = 0


class FairScheduler:
    """Order of sources for the lifter; `begin` and `charge` keep the account of every source."""

    def __init__(self, clock: Clock) -> None:
        self.cost = BatchCostModel()
        self._clock = clock
        self._accounts: WeakKeyDictionary[Schedulable, _Account] = WeakKeyDictionary()
        self._max_charged_s = 0.0  # of all sources

    def order(self, sources: Iterable[T]) -> list[T]:
        """The sources in the order in which they are lifted."""
        accounts = {source: self._account(source) for source in sources}
        if len(accounts) < 2:
            return list(accounts)
        contenders = 0  # sources that want lifter time; only a source with an open pass can be urgent
        if any(account.remaining for account in accounts.values()):
            contenders = sum(
                account.remaining > 0 or source.fill_level > 0 for source, account in accounts.items()
            )
        floor_s, window_s = self._credit_floor_s(), self.cost.window_s

        def key(source: T) -> tuple[float, float, float]:
            account = accounts[source]
            deadline_s = math.inf
            if account.remaining:
                needed_s, overflow_s = account.remaining * window_s, self._time_to_overflow_s(source, account)
                deadline_s = overflow_s if needed_s <= overflow_s < contenders * needed_s else math.inf
            return deadline_s, max(account.charged_s, floor_s), account.charged_s

        return sorted(accounts, key=key)

    def begin(self, source: Schedulable, windows: int) -> None:
        """Open a pass of `windows` over the people of a source."""
        account = self._account(source)
        account.started_ns, account.start_level = self._clock.now_ns(), source.fill_level
        account.remaining = windows

    def charge(self, batch: Sequence[Schedulable], seconds: float) -> None:
        """Book a batch that took `seconds`: `batch` has the source of each of its windows."""
        self.cost.observe(len(batch), seconds)
        floor_s = self._credit_floor_s()
        for source in batch:
            account = self._account(source)
            account.charged_s = max(account.charged_s, floor_s) + seconds / len(batch)
            account.remaining -= 1
            self._max_charged_s = max(self._max_charged_s, account.charged_s)

    def _credit_floor_s(self) -> float:
        """Credit floor: an idle source accumulates at most two batches of credit."""
        return self._max_charged_s - 2 * max(_TARGET_BATCH_S, self.cost.window_s)

    def _time_to_overflow_s(self, source: Schedulable, account: _Account) -> float:
        """Seconds until frames behind the open pass are lost, at the rate they arrived since it began."""
        arrived = source.fill_level - account.start_level
        if not account.remaining or arrived <= 0:
            return math.inf
        return (1 - source.fill_level) / arrived * (self._clock.now_ns() - account.started_ns) / 1e9

    def _account(self, source: Schedulable) -> _Account:
        return self._accounts.setdefault(source, _Account())
