"""Prometheus metrics of a node: its health, and the poses per source."""

import threading
from collections import deque
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream.clock import Clock
from stream.health import Health
from stream.messages import PoseFrame

RATE_WINDOW_S = 10.0  # pose frames of so many seconds make the rate
_HOP = "hop"  # the one stage of the health report whose samples are frames


class NodeCollector(Collector):
    """Reads the health whenever Prometheus asks; pose frames are added as they are published."""

    def __init__(self, health: Health, clock: Clock) -> None:
        self._health = health
        self._clock = clock
        self._lock = threading.Lock()
        self._published_ns: dict[str, deque[int]] = {}  # times of the last RATE_WINDOW_S, by source
        self._persons: dict[str, int] = {}

    def add(self, frame: PoseFrame) -> None:
        """Count a published pose frame."""
        now_ns, source = self._clock.now_ns(), frame.header.source
        with self._lock:
            times_ns = self._published_ns.setdefault(source, deque())
            times_ns.append(now_ns)
            self._drop_old(times_ns, now_ns)
            self._persons[source] = sum(person.state != "lost" for person in frame.persons)

    def last_pose_ages_s(self) -> dict[str, float]:
        """Seconds since the last pose frame, by source."""
        now_ns = self._clock.now_ns()
        with self._lock:
            return {source: (now_ns - times[-1]) / 1e9 for source, times in self._published_ns.items()}

    def collect(self) -> Iterator[Metric]:
        """All metrics, with their values now."""
        yield from self._counters()
        yield from self._stages()
        yield from self._ages()
        yield from self._poses()

    def _counters(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "poselift_events", "Events by component, such as frames, batches and reconnections.",
            labels=("component", "event"),
        )  # fmt: skip
        drops = CounterMetricFamily(
            "poselift_dropped", "Dropped frames and messages.", labels=("component", "reason")
        )
        states = GaugeMetricFamily(
            "poselift_state", "1 for the state of a component.", labels=("component", "state")
        )
        report = self._health.report()
        for name, count in report["counters"].items():
            component, dropped, reason = name.partition(".drop.")
            if dropped:
                drops.add_metric((component, reason), count)
            else:
                events.add_metric(tuple(name.rsplit(".", 1)), count)
        for component, state in report["states"].items():
            states.add_metric((component, state["state"]), 1)
        yield from (events, drops, states)

    def _stages(self) -> Iterator[Metric]:
        seconds = GaugeMetricFamily(
            "poselift_stage_seconds",
            "Time that a frame spends in a stage; age is the time from capture to publication.",
            labels=("stage", "quantile"),
        )
        hops = GaugeMetricFamily("poselift_hop_frames", "New frames per lifter pass.", labels=("quantile",))
        for stage, values in self._health.report()["stages_ms"].items():
            for quantile, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")):
                if stage == _HOP:
                    hops.add_metric((quantile,), values[name])
                else:
                    seconds.add_metric((stage, quantile), values[name] / 1e3)
        yield from (seconds, hops)

    def _ages(self) -> Iterator[Metric]:
        now_ns = self._clock.now_ns()
        frames = GaugeMetricFamily(
            "poselift_last_frame_age_seconds", "Time since a camera's last frame.", labels=("source",)
        )
        for source, age_s in self._health.ages_s("frame", now_ns).items():
            frames.add_metric((source,), age_s)
        turns = GaugeMetricFamily(
            "poselift_last_turn_age_seconds", "Time since the last turn of a thread.", labels=("thread",)
        )
        for thread, age_s in self._health.ages_s("loop", now_ns).items():
            turns.add_metric((thread,), age_s)
        yield from (frames, turns)

    def _poses(self) -> Iterator[Metric]:
        rates = GaugeMetricFamily(
            "poselift_pose_rate_hz", f"Pose frames per second over {RATE_WINDOW_S:g} s.", labels=("source",)
        )
        ages = GaugeMetricFamily(
            "poselift_last_pose_age_seconds", "Time since the last pose frame.", labels=("source",)
        )
        persons = GaugeMetricFamily("poselift_persons", "Persons in the last pose frame.", labels=("source",))
        for source, age_s in self.last_pose_ages_s().items():
            ages.add_metric((source,), age_s)
        now_ns = self._clock.now_ns()
        with self._lock:
            for source, times_ns in self._published_ns.items():
                recent = sum(now_ns - time_ns <= RATE_WINDOW_S * 1e9 for time_ns in times_ns)
                rates.add_metric((source,), recent / RATE_WINDOW_S)
                persons.add_metric((source,), self._persons[source])
        yield from (rates, ages, persons)

    def _drop_old(self, times_ns: deque[int], now_ns: int) -> None:
        while now_ns - times_ns[0] > RATE_WINDOW_S * 1e9:
            times_ns.popleft()
