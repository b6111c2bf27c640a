"""The lift thread: lifts frames of all sources as they arrive, until all are drained or it is stopped."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from stream.clock import Clock
from stream.runtime.batch_lifter import BatchLifter
from stream.windows.camera_buffer import CameraBuffer

_TICK_S = 0.1  # how soon the thread notices a stop, and frames that are due without a newer one
_FLUSH_S = 0.5  # how long it goes on lifting after a stop
_HANDOVER_S = 0.01  # how long it waits for the last frame of a source
# How long a thread that is busy all the time waits from the start of a turn to that of the next. Frames of
# several cameras that arrive meanwhile are lifted together, which takes a third of the time.
_MAX_GATHER_S = 0.012
_DECAY = 0.9  # weight of earlier turns in the thread's load, per turn


class BufferedSource(Protocol):
    """A source whose frames wait in buffers, such as a SourceThread."""

    @property
    def buffers(self) -> list[CameraBuffer]: ...

    @property
    def drained(self) -> bool:
        """Whether the source has ended and no frame is pending."""
        ...


class LiftThread:
    """Lifts the frames of `sources` in a thread of its own.

    on_error: gets the error that ends it early. on_turn: called before every wait and every batch. gather:
    wait for the frames of further live cameras when the thread is busy.
    """

    def __init__(
        self,
        batches: BatchLifter,
        sources: Sequence[BufferedSource],
        clock: Clock,
        on_error: Callable[[str, Exception], None],
        on_turn: Callable[[], None] = lambda: None,
        gather: bool = True,
    ) -> None:
        self._batches = batches
        self._sources = sources
        self._clock = clock
        self._on_error = on_error
        self._on_turn = on_turn
        self._max_gather_s = _MAX_GATHER_S if gather else 0.0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._done = threading.Event()
        self._load = 0.0  # share of the time in which the thread lifts
        self._thread = threading.Thread(target=self._run, name="lift", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look for frames now, or for the end of the sources."""
        if not self._wake.is_set():  # which takes less time; the thread clears it before it looks
            self._wake.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all sources have ended and all frames are lifted; False after `timeout_s`."""
        return self._done.wait(timeout_s)

    def stop(self) -> None:
        """Make the thread flush and end; returns at once."""
        self._stop.set()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread; False when it did not end in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            start_ns = self._clock.now_ns()
            while not self._stop.is_set() and not self._drained:
                self._on_turn()
                self._wake.wait(_TICK_S)
                self._gather(start_ns)
                self._wake.clear()
                last_ns, start_ns = start_ns, self._clock.now_ns()
                while not self._stop.is_set() and self._lift():
                    pass
                lifted_ns = self._clock.now_ns() - start_ns
                load = lifted_ns / max(1, start_ns - last_ns, lifted_ns)
                self._load += (1 - _DECAY) * (load - self._load)
            self._flush()
        except Exception as error:
            self._on_error("lift", error)
        finally:
            self._done.set()

    def _gather(self, last_ns: int) -> None:
        """Wait for the frames of further cameras, the longer the more of its time the thread lifts.

        last_ns: start of the last turn. At a load of a quarter the next turn starts at least 3 ms later: the
        frames of one camera alone are farther apart and never wait.
        """
        wait_s = self._load * self._max_gather_s - (self._clock.now_ns() - last_ns) / 1e9
        if wait_s > 0:
            self._clock.wait(self._stop, wait_s)

    def _lift(self) -> bool:
        self._on_turn()
        return self._batches.lift_next_batch(
            [buffer for source in self._sources for buffer in source.buffers]
        )

    def _flush(self) -> None:
        """After a stop, lift and publish the frames that are still pending, as far as time allows."""
        until_ns = self._clock.now_ns() + round(_FLUSH_S * 1e9)
        while (self._batches.busy or not self._drained) and self._clock.now_ns() < until_ns:
            if not self._lift():
                self._wake.wait(_HANDOVER_S)
                self._wake.clear()

    @property
    def _drained(self) -> bool:
        return all(source.drained for source in self._sources)
