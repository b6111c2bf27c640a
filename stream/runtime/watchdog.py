"""Notices threads that hang, queues that stay full and cameras that are too slow: logs and counts them once.

A hanging thread cannot be ended from within the process. `alive` is then False: the service sends no sign
of life to systemd and the `prometheus` sink answers 503 at /healthz, so that the supervisor restarts it.
"""

import logging

from stream.clock import Clock
from stream.health import Health, stalled_threads

log = logging.getLogger("poselift")

STALLED_S = 30.0  # without a turn of a source or lift thread
RATE_S = 10.0  # over which the frame rate of a camera is measured
FULL_S = 20.0  # in which a queue drops without a pause
# Drops of queues whose reader is too slow; a camera that is faster than its detector drops on purpose.
_FULL_QUEUES = (
    "sink_slow", "subscriber_slow", "broker_slow", "reader_behind", "source_behind", "lifter_behind",
)  # fmt: skip


class Watchdog:
    """Looks at the health of a node; `check` is called about once a second.

    max_gap_s: seconds without a detection after which a person is lost.
    """

    def __init__(self, health: Health, clock: Clock, max_gap_s: float) -> None:
        self._health = health
        self._clock = clock
        self._max_gap_s = max_gap_s
        self._rates_from_ns = clock.now_ns()
        self._frames: dict[str, int] = {}  # by camera, at `_rates_from_ns`
        self._slow: set[str] = set()
        self._stalled: set[str] = set()
        self._full: dict[str, _FullQueue] = {}

    @property
    def alive(self) -> bool:
        """Whether all source and lift threads made a turn in the STALLED_S before the last check."""
        return not self._stalled

    def check(self) -> None:
        """Log and count what has begun to hang or to overflow since the last call."""
        self._check_threads()
        self._check_queues()
        self._check_rates()

    def _check_threads(self) -> None:
        stalled = stalled_threads(self._health, self._clock.now_ns(), STALLED_S)
        for thread in sorted(stalled.keys() - self._stalled):
            self._health.increment(thread, "stalled")
            self._health.set_state(thread, "stalled", f"no turn for {stalled[thread]:.0f} s")
            log.error("%s: no turn for %.0f s; a supervisor should restart it", thread, stalled[thread])
        for thread in sorted(self._stalled - stalled.keys()):
            self._health.set_state(thread, "ok")
            log.warning("%s: goes on", thread)
        self._stalled = set(stalled)

    def _check_queues(self) -> None:
        now_ns = self._clock.now_ns()
        for name, count in self._health.report()["counters"].items():
            component, _, reason = name.partition(".drop.")
            if reason not in _FULL_QUEUES:
                continue
            queue = self._full.setdefault(name, _FullQueue(now_ns))
            if queue.is_new_episode(count, now_ns):
                self._health.increment(component, "queue_full")
                log.warning(
                    "%s: has dropped messages (%s) for %.0f s without a pause: it is too slow for this rate",
                    *(component, reason, FULL_S),
                )

    def _check_rates(self) -> None:
        """A camera slower than `max_gap_s` loses every person between two frames."""
        now_ns = self._clock.now_ns()
        seconds = (now_ns - self._rates_from_ns) / 1e9
        if seconds < RATE_S:
            return
        frames = {camera: self._health.counter(camera, "frames") for camera in self._cameras(now_ns)}
        for camera, count in frames.items():
            rate_hz = (count - self._frames.get(camera, count)) / seconds
            if 0 < rate_hz < 1 / self._max_gap_s and camera not in self._slow:
                self._slow.add(camera)
                self._health.increment(camera, "slow")
                log.warning(
                    "%s: %.1f frames per second; a person is lost after %.2f s without a frame and then gets "
                    "a new id: set lifter.predict_s to %.1f or more",
                    *(camera, rate_hz, self._max_gap_s, 2 / rate_hz),
                )
        self._rates_from_ns, self._frames = now_ns, frames

    def _cameras(self, now_ns: int) -> list[str]:
        return list(self._health.ages_s("frame", now_ns))


class _FullQueue:
    """When a counter of drops began to grow at every check."""

    def __init__(self, now_ns: int) -> None:
        self._count = 0
        self._since_ns = now_ns
        self._reported = False

    def is_new_episode(self, count: int, now_ns: int) -> bool:
        """Whether the counter has grown at every check of FULL_S, which was not reported yet."""
        grows, self._count = count > self._count, count
        if not grows:
            self._since_ns, self._reported = now_ns, False
        if self._reported or now_ns - self._since_ns < FULL_S * 1e9:
            return False
        self._reported = True
        return True
