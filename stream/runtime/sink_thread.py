"""One thread and one bounded queue per sink, so that a slow or broken sink delays no other sink."""

import logging
import threading
from collections.abc import Callable

from stream.clock import Backoff, Clock
from stream.errors import AddressInUse, EncodeError, PoseliftError, SinkUnavailable
from stream.health import Health
from stream.messages import Message, PoseFrame
from stream.protocols import Sink, opened
from stream.queues import DropOldestQueue
from stream.rate_limited_log import RateLimitedLog
from stream.runtime.lost_events import LostEvents

log = logging.getLogger("poselift")

_FIRST_RETRY_S, _MAX_RETRY_S = 0.5, 30.0
ADDRESS_WAIT_S = 5.0  # how long a sink that was never open waits for an address that is in use
QUEUE = 256  # messages a sink may be behind: the poses of that many cameras may be lifted at once
_TICK_S = 0.2  # how soon the thread notices that the queue is closed
_MAX_SEND_WAIT_S = 60.0  # the longest a lossless pipeline waits for a sink that is open but slow


class SinkThread:
    """Runs one sink in a thread of its own: opens it, sends, and opens it again when it was lost.

    make: called once at construction, which checks the settings, and again for every further attempt.
    queue_size: messages that may wait. on_error: gets the error when the sink never opened, because another
    program kept its address. error: what ended the sink for good, or None.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Sink],
        clock: Clock,
        health: Health,
        lossless: bool,
        queue_size: int = QUEUE,
        on_error: Callable[[str, Exception], None] = lambda name, error: None,
    ) -> None:
        self.name = name
        self.sink: Sink | None = None
        self.error: Exception | None = None
        self._make = make
        self._made: Sink | None = make()
        self._clock = clock
        self._health = health
        self._lossless = lossless
        self._on_error = on_error
        self._available = True  # until an attempt fails
        self._queue: DropOldestQueue[Message] = DropOldestQueue(queue_size, self._on_drop)
        self._lost = LostEvents()
        self._log = RateLimitedLog(clock)
        self._backoff = Backoff(_FIRST_RETRY_S, _MAX_RETRY_S)
        self._stop = threading.Event()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink:{name}", daemon=True)

    @property
    def endpoint(self) -> str:
        """Where the open sink's output can be found; "" before it is open, or without an address."""
        return self.sink.endpoint if self.sink else ""

    def start(self) -> None:
        self._health.set_state(self.name, "opening")
        self._thread.start()

    def wait_until_open(self, timeout_s: float) -> bool:
        """Wait until the sink has been opened once, or has failed for good; False after `timeout_s`."""
        return self._opened.wait(timeout_s)

    def send(self, message: Message) -> None:
        """Queue one message; waits for room only in a lossless pipeline whose sink is available."""
        self._queue.put(message, _MAX_SEND_WAIT_S if self._lossless and self._available else 0.0)

    def close(self, timeout_s: float) -> bool:
        """Send the queued messages and close the sink; False when its thread did not end in time."""
        self._queue.close()
        self._stop.set()
        self._thread.join(timeout_s)
        close_timeout_s = self.sink.close_timeout_s if self.sink else 0.0
        if self._thread.is_alive() and 0 < timeout_s < close_timeout_s:
            log.info("%s: closing may take up to %.0f s", self.name, close_timeout_s)
            self._thread.join(close_timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        address_ns = self._clock.now_ns() + round(ADDRESS_WAIT_S * 1e9)
        try:
            while not self._queue.drained:
                made, self._made = self._made or self._make(), None
                try:
                    with opened(made) as self.sink:
                        self._on_open()
                        self._serve(self.sink)
                except SinkUnavailable as error:
                    if not self._opened.is_set() and self._is_taken(error, address_ns):
                        self._fail(error, str(error))
                        self._on_error(self.name, error)
                        return
                    self._wait_to_retry(error)
                    if self._queue.closed:  # the pipeline stops: give up
                        return
        except PoseliftError as error:
            self._fail(error, str(error))
        except Exception as error:
            log.exception("%s failed", self.name)
            self._fail(error, f"{type(error).__name__}: {error}")

    def _on_open(self) -> None:
        self._health.set_state(self.name, "ok")
        self._available = True
        self._opened.set()
        self._backoff.reset()

    def _serve(self, sink: Sink) -> None:
        while not self._queue.drained:
            message = self._queue.get(_TICK_S)
            message = self._lost.pop() if message is None else self._lost.carry(message)
            if message is None:
                continue
            started_ns = self._clock.now_ns()
            try:
                sink.send(message)
            except EncodeError as error:
                self._health.increment(self.name, "drop.encode")
                self._log.warning("encode", "%s: %s", self.name, error)
                continue
            except SinkUnavailable:
                self._health.increment(self.name, "drop.sink_down")
                self._lost.keep(message)
                raise
            if isinstance(message, PoseFrame):
                self._health.observe_ms("publish", (self._clock.now_ns() - started_ns) / 1e6)
                self._health.increment(self.name, "sent")

    def _is_taken(self, error: Exception, until_ns: int) -> bool:
        return isinstance(error, AddressInUse) and self._clock.now_ns() >= until_ns

    def _on_drop(self, message: Message) -> None:
        self._health.increment(self.name, "drop.sink_slow")
        self._lost.keep(message)

    def _wait_to_retry(self, error: SinkUnavailable) -> None:
        self._available = False
        self._health.set_state(self.name, "retrying", str(error))
        delay_s = self._backoff.next_delay_s()
        log.warning("%s: %s; trying again in %.1f s", self.name, error, delay_s)
        self._clock.wait(self._stop, delay_s)

    def _fail(self, error: Exception, reason: str) -> None:
        """Give the sink up for good and close its queue, so that no thread waits for room in it."""
        self.error = error
        self._health.set_state(self.name, "failed", reason)
        log.error("%s: stopped: %s", self.name, reason)
        self._queue.close()
        self._opened.set()
