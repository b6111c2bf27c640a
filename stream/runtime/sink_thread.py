"""One thread and one bounded slot per sink, so that a slow or broken sink disturbs nobody else."""

import logging
import random
import threading
from collections.abc import Callable

from stream.clock import Clock
from stream.errors import EncodeError, PoseliftError, SinkUnavailable
from stream.health import Health
from stream.messages import Message, PoseFrame
from stream.protocols import Sink, opened
from stream.queues import DropOldestQueue

log = logging.getLogger("poselift")

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_ROOM_S = 60.0  # the longest a lossless pipeline waits for a sink that is up but slow


class SinkThread:
    """Runs one sink in a thread of its own: opens it, sends, and opens it again when it was lost.

    `make` is called once at construction, which checks the settings, and again for every further
    attempt. `room` is for messages it has not sent yet. `error` is what ended it for good, or None.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Sink],
        clock: Clock,
        health: Health,
        lossless: bool,
        room: int = 64,
    ) -> None:
        self.name = name
        self.sink: Sink | None = None
        self.error: Exception | None = None
        self._make = make
        self._made: Sink | None = make()
        self._clock = clock
        self._health = health
        self._lossless = lossless
        self._up = True  # until it shows otherwise
        self._slot: DropOldestQueue[Message] = DropOldestQueue(
            room, lambda: health.increment(name, "drop.sink_slow")
        )
        self._stop = threading.Event()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink:{name}", daemon=True)

    @property
    def endpoint(self) -> str:
        """Where the open sink's output can be found; "" before it is open, or without an address."""
        return self.sink.endpoint if self.sink else ""

    def start(self) -> None:
        self._thread.start()

    def ready(self, timeout_s: float) -> bool:
        """Wait until the sink has been opened once, or has failed for good."""
        return self._opened.wait(timeout_s)

    def send(self, message: Message) -> None:
        """Queue one message; waits only when nothing may be lost and the sink is up."""
        self._slot.put(message, _ROOM_S if self._lossless and self._up else 0.0)

    def close(self, timeout_s: float) -> bool:
        """Send what is still waiting, close the sink; False when its thread did not end in time."""
        self._slot.close()
        self._stop.set()
        self._thread.join(timeout_s)
        close_timeout_s = self.sink.close_timeout_s if self.sink else 0.0
        if self._thread.is_alive() and 0 < timeout_s < close_timeout_s:
            log.info("%s: closing may take up to %.0f s", self.name, close_timeout_s)
            self._thread.join(close_timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        try:
            while not self._slot.drained:
                made, self._made = self._made or self._make(), None
                try:
                    with opened(made) as self.sink:
                        self._health.set_state(self.name, "ok")
                        self._up = True
                        self._opened.set()
                        wait_s = _FIRST_WAIT_S
                        self._serve(self.sink)
                except SinkUnavailable as error:
                    self._up = False
                    self._health.set_state(self.name, "retrying", str(error))
                    log.warning("%s: %s; trying again in %.1f s", self.name, error, wait_s)
                    self._clock.wait(self._stop, wait_s * random.uniform(0.8, 1.2))
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                    if self._slot.closed:  # nobody to try for
                        return
        except PoseliftError as error:
            self._fail(error, str(error))
        except Exception as error:
            log.exception("%s failed", self.name)
            self._fail(error, f"{type(error).__name__}: {error}")

    def _serve(self, sink: Sink) -> None:
        while not self._slot.drained:
            message = self._slot.get(0.2)
            if message is None:
                continue
            before_ns = self._clock.now_ns()
            try:
                sink.send(message)
            except EncodeError as error:
                self._health.increment(self.name, "drop.encode")
                log.warning("%s: %s", self.name, error)
                continue
            except SinkUnavailable:
                self._health.increment(self.name, "drop.sink_down")
                raise
            if isinstance(message, PoseFrame):
                self._health.observe_ms("publish", (self._clock.now_ns() - before_ns) / 1e6)
                self._health.increment(self.name, "sent")

    def _fail(self, error: Exception, why: str) -> None:
        """This sink is out for good; take nothing more, so that nobody waits for it."""
        self.error = error
        self._health.set_state(self.name, "failed", why)
        log.error("%s: stopped: %s", self.name, why)
        self._slot.close()
        self._opened.set()
