"""Pauses of the receiving process, and the time without messages."""

from sources.keypoint_receiver import KeypointReceiver
from stream.clock import FakeClock
from stream.health import Health
from stream.protocols import ComponentContext


class SuspendedClock(FakeClock):
    """A machine's clocks: only the wall clock goes on while the machine is suspended."""

    suspended_s = 0.0

    def unix_ns(self) -> int:
        return super().unix_ns() + round(self.suspended_s * 1e9)


def receiver(clock: FakeClock, health: Health | None = None) -> KeypointReceiver:
    return KeypointReceiver(ComponentContext("net", clock=clock, health=health or Health()), timeout_s=5.0)


def test_a_process_that_reads_in_time_has_not_paused():
    clock = SuspendedClock()
    source = receiver(clock)
    assert not source.paused(0.0)
    for waited_s in (0.2, 0.2, 30.0):
        clock.advance(waited_s + 0.9)
        assert not source.paused(waited_s)


def test_a_stopped_process_has_paused_once():
    clock = SuspendedClock()
    source = receiver(clock)
    source.paused(0.0)
    clock.advance(1.3)
    assert source.paused(0.2)
    clock.advance(0.2)
    assert not source.paused(0.2)


def test_a_suspended_machine_has_paused_although_its_monotonic_clock_stood_still():
    clock = SuspendedClock()
    source = receiver(clock)
    source.paused(0.0)
    clock.suspended_s = 600.0
    clock.advance(0.2)
    assert source.paused(0.2)


def test_a_source_without_messages_reports_the_time_and_the_invalid_messages():
    clock, health = SuspendedClock(), Health()
    source = receiver(clock, health)
    source.start()
    clock.advance(5.0)
    assert source.timeout_message() is None
    assert source.decode(b"junk") is None
    clock.advance(1.0)
    assert source.timeout_message() == "no keypoints for 6.0 s (1 invalid messages)"
    assert health.dropped("net") == 1
