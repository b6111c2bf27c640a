"""The source threads of a run, some of which are added and removed while it runs."""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import overload

from stream.runtime.source_thread import SourceThread


class SourceSet(Sequence[SourceThread]):
    """Source threads; iterating in any thread goes over those of that moment.

    A removed thread remains until its last frame is published, so that its people are announced as lost.
    """

    def __init__(self, threads: Iterable[SourceThread]) -> None:
        self._threads = tuple(threads)  # replaced as a whole, since other threads iterate over it
        self._drained: list[SourceThread] = []
        self._changed = threading.Condition()
        self.removing = False  # whether removed threads remain

    @overload
    def __getitem__(self, index: int) -> SourceThread: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[SourceThread, ...]: ...
    def __getitem__(self, index: int | slice) -> SourceThread | tuple[SourceThread, ...]:
        return self._threads[index]

    def __len__(self) -> int:
        return len(self._threads)

    def __iter__(self) -> Iterator[SourceThread]:
        return iter(self._threads)

    def replace(self, removed: Collection[SourceThread], added: Iterable[SourceThread]) -> None:
        """Add threads, and make others announce their people as lost and end; returns at once."""
        with self._changed:
            self._threads = (*self._threads, *added)
            self.removing = self.removing or bool(removed)
        for thread in removed:
            thread.remove()

    def take_out_drained(self, before: Callable[[SourceThread], object]) -> None:
        """Take out the removed threads without pending frames, after a call of `before` with each of them.

        For the lift thread, while it works on no frame of theirs.
        """
        drained = [thread for thread in self._threads if thread.removed and thread.drained]
        for thread in drained:
            before(thread)
        with self._changed:
            self._threads = tuple(thread for thread in self._threads if thread not in drained)
            self._drained += drained
            self.removing = any(thread.removed for thread in self._threads)
            self._changed.notify_all()

    def wait_until_drained(self, timeout_s: float) -> bool:
        """Wait until no removed thread remains; False after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.removing, timeout_s)

    def pop_drained(self) -> list[SourceThread]:
        """The threads taken out since the last call."""
        with self._changed:
            drained, self._drained = self._drained, []
            return drained
