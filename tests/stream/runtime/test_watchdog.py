"""Threads that hang and queues that stay full are noticed, counted and logged once."""

import logging

import pytest

from stream.clock import FakeClock
from stream.health import Health
from stream.runtime.watchdog import FULL_S, STALLED_S, Watchdog


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def test_a_thread_that_hangs_is_reported_once_and_so_is_its_return(warnings: pytest.LogCaptureFixture):
    clock, health = FakeClock(), Health()
    watchdog = Watchdog(health, clock)
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
    watchdog = Watchdog(health, clock)
    health.touch("source:cam0", "loop", clock.now_ns())
    health.forget("source:cam0", "loop")
    clock.advance(1000)
    watchdog.check()
    assert watchdog.alive


@pytest.mark.parametrize(("reason", "episodes"), [("sink_slow", 2), ("newest_wins", 0)])
def test_a_queue_that_never_empties_is_reported_once_per_episode(reason: str, episodes: int):
    clock, health = FakeClock(), Health()
    watchdog = Watchdog(health, clock)
    for second in range(100):
        if second != 50:  # one second without a drop ends the episode
            health.increment("file", f"drop.{reason}")
        watchdog.check()
        clock.advance(1)
    assert FULL_S < 50
    assert health.counter("file", "queue_full") == episodes


def test_single_drops_are_no_full_queue():
    clock, health = FakeClock(), Health()
    watchdog = Watchdog(health, clock)
    for second in range(100):
        if second % 2:
            health.increment("file", "drop.sink_slow")
        watchdog.check()
        clock.advance(1)
    assert health.counter("file", "queue_full") == 0
