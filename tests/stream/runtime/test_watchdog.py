"""Threads that hang and queues that stay full are noticed, counted and logged once."""

import logging
from pathlib import Path

import pytest

from sinks.memory import Memory
from stream.clock import FakeClock
from stream.config.load import resolve
from stream.health import Health
from stream.messages import PoseFrame
from stream.runtime.pipeline import Pipeline
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
