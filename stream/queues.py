"""A bounded hand-off between threads: full means the oldest item goes, after waiting if asked to."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class DropOldestQueue(Generic[T]):
    """At most `size` items between putters and one getter; `on_drop` is called for each item dropped."""

    def __init__(self, size: int, on_drop: Callable[[], None] = lambda: None) -> None:
        self._items: deque[T] = deque()
        self._size = size
        self._on_drop = on_drop
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T, wait_s: float = 0.0) -> bool:
        """Hand over `item`, waiting up to `wait_s` for room; False when closed: nobody will take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._size, wait_s)
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
    def closed(self) -> bool:
        return self._closed

    @property
    def drained(self) -> bool:
        """Closed and empty: the getter may stop."""
        with self._changed:
            return self._closed and not self._items

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)
