"""A bounded hand-off between two threads, with a named policy for when it is full."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Overflow = Literal["drop_oldest", "block"]


class Slot(Generic[T]):
    """At most `size` items between one or more putters and one getter.

    overflow "drop_oldest": `put` never waits, the oldest item goes and `on_drop` is called;
    "block": `put` waits for room, for sources that must not lose anything.
    """

    def __init__(
        self, size: int, overflow: Overflow = "drop_oldest", on_drop: Callable[[], None] = lambda: None
    ) -> None:
        self._items: deque[T] = deque()
        self._size = size
        self._overflow = overflow
        self._on_drop = on_drop
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Hand over `item`; False when the slot is closed and nobody will take it."""
        with self._changed:
            if self._overflow == "block":
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            if self._closed:
                return False
            dropped = len(self._items) >= self._size
            if dropped:
                self._items.popleft()
            self._items.append(item)
            self._changed.notify_all()
        if dropped:
            self._on_drop()
        return True

    def get(self, timeout_s: float) -> T | None:
        """The oldest item; None when there is none within `timeout_s`, or at once when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Take nothing more; what is inside can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def drained(self) -> bool:
        """Closed and empty: the getter may stop."""
        with self._changed:
            return self._closed and not self._items

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)
