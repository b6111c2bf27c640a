"""Bounded queue between threads that drops its oldest item when it is full."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class DropOldestQueue(Generic[T]):
    """Holds at most `size` items, from any number of putters to one getter.

    on_drop: gets every dropped item, before the getter can take a later one; it must not use the queue.
    """

    def __init__(self, size: int, on_drop: Callable[[T], object] = lambda item: None) -> None:
        self._items: deque[T] = deque()
        self._size = size
        self._on_drop = on_drop
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T, timeout_s: float = 0.0) -> bool:
        """Append `item`, waiting up to `timeout_s` for space; False when the queue is closed."""
        with self._changed:
            if timeout_s > 0 and len(self._items) >= self._size:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._size, timeout_s)
            if self._closed:
                return False
            if len(self._items) >= self._size:
                self._on_drop(self._items.popleft())
            self._items.append(item)
            self._changed.notify_all()
        return True

    def get(self, timeout_s: float) -> T | None:
        """The oldest item; None when none arrives within `timeout_s`, at once when closed and empty."""
        with self._changed:
            if not self._items:
                self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Refuse further items; those in the queue can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def drained(self) -> bool:
        """Closed and empty, so that the getter may stop."""
        return self._closed and not self._items  # without the lock: a closed queue gets no more items

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)
