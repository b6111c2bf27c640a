import threading

import pytest

from stream.clock import FakeClock, SystemClock
from stream.errors import AddressInUse, ConfigError, EncodeError, SinkUnavailable
from stream.health import Health
from stream.messages import Status
from stream.runtime.sink_thread import SinkThread

WAIT_S = 10.0


def message(number: int) -> Status:
    return Status("node", "session", number, {})


class Recorder:
    """A sink that keeps its messages; `script` has the errors of successive openings and sendings."""

    endpoint = ""
    close_timeout_s = 0.0

    def __init__(self, script: dict[str, list[Exception | None]] | None = None) -> None:
        self.script = script or {}
        self.received: list[int] = []
        self.closed = 0
        self.got_last = threading.Event()

    def _next(self, action: str) -> None:
        if self.script.get(action) and (error := self.script[action].pop(0)) is not None:
            raise error

    def open(self) -> None:
        self._next("open")

    def close(self) -> None:
        self.closed += 1

    def send(self, status: Status) -> None:
        self._next("send")
        self.received.append(status.unix_ns)
        if status.unix_ns == 99:
            self.got_last.set()


class NoWaitClock(SystemClock):
    """A clock that does not wait between attempts."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(0.001)


def started(sink: Recorder, health: Health, lossless: bool = False) -> SinkThread:
    thread = SinkThread("sink0", lambda: sink, NoWaitClock(), health, lossless)
    thread.start()
    return thread


def test_messages_arrive_in_order_and_closing_flushes_them():
    sink, health = Recorder(), Health()
    thread = started(sink, health, lossless=True)
    assert thread.wait_until_open(WAIT_S)
    for number in range(200):
        thread.send(message(number))
    assert thread.close(WAIT_S)
    assert (sink.received, sink.closed) == (list(range(200)), 1)


def test_an_unreachable_sink_is_opened_again_until_it_works():
    sink, health = (
        Recorder({"open": [SinkUnavailable("port 5555 is taken"), SinkUnavailable("still")]}),
        Health(),
    )
    thread = started(sink, health)
    assert thread.wait_until_open(WAIT_S)
    assert health.report()["states"]["sink0"] == {"state": "ok", "detail": ""}
    thread.send(message(99))
    assert sink.got_last.wait(WAIT_S)
    assert thread.close(WAIT_S)


def test_an_address_that_another_program_keeps_at_the_start_ends_the_sink():
    errors: list[tuple[str, str]] = []
    sink, health = Recorder({"open": [AddressInUse("port 5555 is taken")] * 50}), Health()
    thread = SinkThread(
        "sink0",
        lambda: sink,
        FakeClock(),
        health,
        lossless=False,
        on_error=lambda name, error: errors.append((name, str(error))),
    )
    thread.start()
    assert thread.wait_until_open(WAIT_S)
    assert thread.close(WAIT_S)
    assert errors == [("sink0", "port 5555 is taken")]
    assert repr(thread.error) == "AddressInUse('port 5555 is taken')"


def test_an_address_that_becomes_free_soon_is_waited_for():
    sink, health = Recorder({"open": [AddressInUse("port 5555 is taken")] * 2}), Health()
    thread = started(sink, health)
    assert thread.wait_until_open(WAIT_S)
    assert health.report()["states"]["sink0"] == {"state": "ok", "detail": ""}
    assert thread.close(WAIT_S)


def test_a_sink_lost_while_sending_is_opened_again_and_the_drop_counted():
    sink, health = Recorder({"send": [None, SinkUnavailable("cable pulled"), None]}), Health()
    thread = started(sink, health)
    assert thread.wait_until_open(WAIT_S)
    for number in (1, 2, 99):
        thread.send(message(number))
    assert sink.got_last.wait(WAIT_S)
    assert thread.close(WAIT_S)
    assert (sink.received, sink.closed, health.dropped("sink0")) == ([1, 99], 2, 1)


def test_a_message_that_cannot_be_encoded_does_not_end_the_sink():
    sink, health = Recorder({"send": [EncodeError("NaN"), None]}), Health()
    thread = started(sink, health)
    for number in (1, 99):
        thread.send(message(number))
    assert sink.got_last.wait(WAIT_S)
    assert thread.close(WAIT_S)
    assert (sink.received, health.counter("sink0", "drop.encode")) == ([99], 1)


def test_a_sink_that_raises_ends_for_good_and_no_thread_waits_for_it(caplog: pytest.LogCaptureFixture):
    sink, health = Recorder({"open": [ValueError("bug")]}), Health()
    thread = started(sink, health, lossless=True)
    assert thread.wait_until_open(WAIT_S)
    for number in range(1000):
        thread.send(message(number))
    assert thread.close(WAIT_S)
    assert health.report()["states"]["sink0"] == {"state": "failed", "detail": "ValueError: bug"}
    assert repr(thread.error) == "ValueError('bug')"
    assert "bug" in caplog.text


def test_a_stuck_sink_loses_only_its_own_messages():
    release = threading.Event()

    class StuckSink(Recorder):
        def send(self, status: Status) -> None:
            release.wait(WAIT_S)
            super().send(status)

    sink, health = StuckSink(), Health()
    thread = SinkThread("sink0", lambda: sink, NoWaitClock(), health, lossless=False, queue_size=64)
    thread.start()
    assert thread.wait_until_open(WAIT_S)
    for number in range(100):
        thread.send(message(number))  # returns at once
    release.set()
    assert sink.got_last.wait(WAIT_S)
    assert thread.close(WAIT_S)
    assert health.counter("sink0", "drop.sink_slow") == 100 - len(sink.received) > 0
    assert sink.received[-1] == 99


def test_a_burst_of_queue_size_messages_loses_none():
    health, release = Health(), threading.Event()

    class StuckSink(Recorder):
        def send(self, status: Status) -> None:
            release.wait(WAIT_S)
            super().send(status)

    sink = StuckSink()
    thread = SinkThread("sink0", lambda: sink, NoWaitClock(), health, lossless=False, queue_size=300)
    thread.start()
    for number in range(300):
        thread.send(message(number))
    release.set()
    assert thread.close(WAIT_S)
    assert (sink.received, health.dropped("sink0")) == (list(range(300)), 0)


def test_wrong_settings_of_a_sink_raise_at_construction():
    def make() -> Recorder:
        raise ConfigError("the folder does not exist")

    with pytest.raises(ConfigError, match="the folder does not exist"):
        SinkThread("sink0", make, NoWaitClock(), Health(), lossless=False)


def test_a_lossless_pipeline_loses_no_message_while_a_sink_opens():
    may_open = threading.Event()

    class SlowSink(Recorder):
        def open(self) -> None:
            may_open.wait(WAIT_S)

    sink, health = SlowSink(), Health()
    thread = started(sink, health, lossless=True)
    sender = threading.Thread(target=lambda: [thread.send(message(number)) for number in range(100)])
    sender.start()
    sender.join(0.05)  # it waits for room in the queue
    may_open.set()
    sender.join(WAIT_S)
    assert thread.close(WAIT_S)
    assert sink.received == list(range(100))


def test_closing_waits_for_a_recording_written_at_close():
    class Recording(Recorder):
        close_timeout_s = WAIT_S
        leaving, write = threading.Event(), threading.Event()

        def close(self) -> None:
            self.leaving.set()
            self.write.wait(WAIT_S)
            super().close()

    sink = Recording()
    thread = started(sink, Health())
    assert thread.wait_until_open(WAIT_S)
    closed = []
    closer = threading.Thread(target=lambda: closed.append(thread.close(0.001)))
    closer.start()
    assert sink.leaving.wait(WAIT_S)
    sink.write.set()
    closer.join(WAIT_S)
    assert (closed, sink.closed) == ([True], 1)


def test_after_a_success_the_waits_between_attempts_start_again():
    waits_s: list[float] = []

    class RecordingClock(NoWaitClock):
        def wait(self, event: threading.Event, timeout_s: float) -> bool:
            waits_s.append(timeout_s)
            return super().wait(event, timeout_s)

    away, clock = SinkUnavailable("away"), RecordingClock()
    sink = Recorder({"open": [away, away, away, None, away, None], "send": [SinkUnavailable("lost"), None]})
    thread = SinkThread("sink0", lambda: sink, clock, Health(), lossless=True)
    thread.start()
    assert thread.wait_until_open(WAIT_S)
    thread.send(message(1))
    thread.send(message(99))
    assert sink.got_last.wait(WAIT_S)
    assert thread.close(WAIT_S)
    # Up to a fifth of a delay is taken off at random.
    longest_s = [0.5, 1.0, 2.0, 0.5, 1.0]
    assert [0.8 * most <= wait <= most for wait, most in zip(waits_s, longest_s, strict=True)] == [True] * 5
