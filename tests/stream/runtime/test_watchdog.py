"""Threads that hang and queues that stay full are noticed, counted and logged once."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from sinks.memory import Memory
from stream.clock import FakeClock
from stream.config.load import resolve
from stream.health import Health
from stream.messages import F32, PoseFrame, Window
from stream.protocols import ComponentContext, Lifter
from stream.runtime.pipeline import Pipeline, load_lifter
from stream.runtime.watchdog import FULL_S, STALLED_S, Watchdog


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def test_a_thread_that_hangs_is_reported_once_and_so_is_its_return(warnings: pytest.LogCaptureFixture):
    clock, health = FakeClock(), Health()
    watchdog = Watchdog(health, clock, 0.25)
    health.touch("source:cam0", "loop", clock.now_ns())
    clock.advance(STALLED_S - 1)
    health.touch("lift", "loop", clock.now_ns())
    watchdog.check()
    assert watchdog.alive
    clock.advance(2)
    watchdog.check()
    watchdog.check()
    assert (watchdog.alive, health.counter("source:cam0", "stalled")) == (False, 1)
    assert health.report()["states"]["source:cam0"]["state"] == "stalled"
    health.touch("source:cam0", "loop", clock.now_ns())
    watchdog.check()
    assert watchdog.alive
    assert [record.getMessage() for record in warnings.records] == [
        "source:cam0: no turn for 31 s; a supervisor should restart it",
        "source:cam0: goes on",
    ]


def test_a_thread_that_has_ended_does_not_hang():
    clock, health = FakeClock(), Health()
    watchdog = Watchdog(health, clock, 0.25)
    health.touch("source:cam0", "loop", clock.now_ns())
    health.forget("source:cam0", "loop")
    clock.advance(1000)
    watchdog.check()
    assert watchdog.alive


@pytest.mark.parametrize(("reason", "episodes"), [("sink_slow", 2), ("newest_wins", 0)])
def test_a_queue_that_never_empties_is_reported_once_per_episode(reason: str, episodes: int):
    clock, health = FakeClock(), Health()
    watchdog = Watchdog(health, clock, 0.25)
    for second in range(100):
        if second != 50:  # one second without a drop ends the episode
            health.increment("file", f"drop.{reason}")
        watchdog.check()
        clock.advance(1)
    assert FULL_S < 50
    assert health.counter("file", "queue_full") == episodes


def test_single_drops_are_no_full_queue():
    clock, health = FakeClock(), Health()
    watchdog = Watchdog(health, clock, 0.25)
    for second in range(100):
        if second % 2:
            health.increment("file", "drop.sink_slow")
        watchdog.check()
        clock.advance(1)
    assert health.counter("file", "queue_full") == 0


def test_a_camera_slower_than_people_are_kept_gets_advice_once(warnings: pytest.LogCaptureFixture):
    clock, health = FakeClock(), Health()
    watchdog = Watchdog(health, clock, 0.25)
    for _ in range(100):
        health.increment("slow", "frames")
        health.increment("fast", "frames", 3)
        for camera in ("slow", "fast"):
            health.touch(camera, "frame", clock.now_ns())
        watchdog.check()
        clock.advance(0.5)
    assert (health.counter("slow", "slow"), health.counter("fast", "slow")) == (1, 0)
    assert [record.getMessage() for record in warnings.records] == [
        "slow: 2.0 frames per second; a person is lost after 0.25 s without a frame and then gets a new id: "
        "set lifter.predict_s to 1.0 or more"
    ]


@pytest.mark.parametrize(("predict_s", "people"), [(0.25, 8), (1.0, 1)])
def test_a_camera_at_two_frames_per_second_keeps_its_person_with_enough_prediction(
    tiny_weights: Path, predict_s: float, people: int
):
    config = {
        "sources": {"slow": {"type": "synthetic", "fps": 2.0, "frames": 8}},
        "lifter": {"weights": str(tiny_weights), "predict_s": predict_s},
        "tracking": {"confirm_frames": 1},
        "sinks": {"poses": {"type": "memory"}},
    }
    with Pipeline(resolve(config)) as pipeline:
        assert pipeline.wait(60)
    sink = pipeline.sink_threads["poses"].sink
    assert isinstance(sink, Memory)
    ids = {person.id for frame in sink.messages if isinstance(frame, PoseFrame) for person in frame.persons}
    assert len(ids) == people


def test_every_source_and_the_lifter_make_turns_until_they_end(tiny_weights: Path):
    config = {
        "sources": {"walk": {"type": "synthetic", "fps": 20.0, "frames": 30}},
        "lifter": {"weights": str(tiny_weights)},
        "sinks": {"poses": {"type": "memory"}},
    }
    with Pipeline(resolve(config)) as pipeline:
        assert not pipeline.wait(0.8)
        turns = pipeline.health.ages_s("loop", pipeline.clock.now_ns())
        assert turns.keys() == {"source:walk", "lift"}
        assert max(turns.values()) < STALLED_S / 2
        assert pipeline.wait(60)
        assert "source:walk" not in pipeline.health.ages_s("loop", pipeline.clock.now_ns())


class HangingSource:
    """A source whose reads hang until `released`."""

    live = True
    released = threading.Event()

    class Settings(msgspec.Struct, frozen=True):
        """No settings."""

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        pass

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def read(self, timeout_s: float) -> None:
        self.released.wait()


class HangingLifter:
    """A lifter that hangs in its first batch until `released`."""

    def __init__(self, lifter: Lifter, released: threading.Event) -> None:
        self.spec, self.warm_up = lifter.spec, lambda: None
        self._lifter, self._released = lifter, released

    def lift(self, windows: Sequence[Window], last: int | None = None) -> F32:
        self._released.wait()
        return self._lifter.lift(windows, last)


def wait_until(happened: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.mark.parametrize("thread", ["source:hanging", "lift"])
def test_a_source_or_lifter_that_hangs_is_reported_while_it_does(
    tiny_weights: Path, thread: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("stream.runtime.watchdog.STALLED_S", 1.0)
    HangingSource.released = released = threading.Event()
    hanging = {"type": f"{__name__}:HangingSource"}
    config = resolve(
        {
            "sources": {"walk": {"type": "synthetic"}} | ({} if thread == "lift" else {"hanging": hanging}),
            "lifter": {"weights": str(tiny_weights)},
            "sinks": {"poses": {"type": "memory"}},
        }
    )
    lifter: Lifter = load_lifter(config.lifter)
    pipeline = Pipeline(config, lifter=HangingLifter(lifter, released) if thread == "lift" else lifter)
    watchdog = Watchdog(pipeline.health, pipeline.clock, 0.25)

    def state(thread: str) -> str:
        watchdog.check()
        return str(pipeline.health.report()["states"].get(thread, {}).get("state"))

    with pipeline:
        wait_until(lambda: state(thread) == "stalled")
        assert not watchdog.alive
        assert pipeline.health.counter(thread, "stalled") == 1
        released.set()
        if thread == "lift":
            wait_until(lambda: state(thread) == "ok")
