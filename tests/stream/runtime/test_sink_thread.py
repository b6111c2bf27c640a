import threading

import pytest

from stream.clock import SystemClock
from stream.errors import ConfigError, EncodeError, SinkUnavailable
from stream.health import Health
from stream.messages import Status
from stream.runtime.sink_thread import SinkThread

WAIT_S = 10.0


def message(number: int) -> Status:
    return Status("node", "session", number, {})


class Recorder:
    """A sink that keeps what it gets; `script` says what happens at each opening and sending."""

    endpoint = ""
    close_timeout_s = 0.0

    def __init__(self, script: dict[str, list[Exception | None]] | None = None) -> None:
        self.script = script or {}
        self.got: list[int] = []
        self.closed = 0
        self.full = threading.Event()

    def _next(self, what: str) -> None:
        if self.script.get(what) and (error := self.script[what].pop(0)) is not None:
            raise error

    def open(self) -> None:
        self._next("open")

    def close(self) -> None:
        self.closed += 1

    def send(self, status: Status) -> None:
        self._next("send")
        self.got.append(status.unix_ns)
        if status.unix_ns == 99:
            self.full.set()


class Impatient(SystemClock):
    """A clock that does not wait between attempts."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(0.001)


def outlet(sink: Recorder, health: Health, lossless: bool = False) -> SinkThread:
    out = SinkThread("sink0", lambda: sink, Impatient(), health, lossless)
    out.start()
    return out


def test_messages_arrive_in_order_and_closing_flushes_them():
    sink, health = Recorder(), Health()
    out = outlet(sink, health, lossless=True)
    assert out.ready(WAIT_S)
    for number in range(200):
        out.send(message(number))
    assert out.close(WAIT_S)
    assert (sink.got, sink.closed) == (list(range(200)), 1)


def test_a_sink_that_is_unreachable_is_tried_again_and_says_so():
    sink, health = (
        Recorder({"open": [SinkUnavailable("port 5555 is taken"), SinkUnavailable("still")]}),
        Health(),
    )
    out = outlet(sink, health)
    assert out.ready(WAIT_S)
    assert health.report()["states"]["sink0"] == {"state": "ok", "detail": ""}
    out.send(message(99))
    assert sink.full.wait(WAIT_S)
    assert out.close(WAIT_S)


def test_a_sink_lost_while_sending_is_opened_again_and_the_loss_counted():
    sink, health = Recorder({"send": [None, SinkUnavailable("cable pulled"), None]}), Health()
    out = outlet(sink, health)
    assert out.ready(WAIT_S)
    for number in (1, 2, 99):
        out.send(message(number))
    assert sink.full.wait(WAIT_S)
    assert out.close(WAIT_S)
    assert (sink.got, sink.closed, health.dropped("sink0")) == ([1, 99], 2, 1)


def test_a_message_that_cannot_be_written_does_not_end_the_sink():
    sink, health = Recorder({"send": [EncodeError("NaN"), None]}), Health()
    out = outlet(sink, health)
    for number in (1, 99):
        out.send(message(number))
    assert sink.full.wait(WAIT_S)
    assert out.close(WAIT_S)
    assert (sink.got, health.counter("sink0", "drop.encode")) == ([99], 1)


def test_a_sink_that_breaks_is_out_and_nobody_waits_for_it(caplog: pytest.LogCaptureFixture):
    sink, health = Recorder({"open": [ValueError("bug")]}), Health()
    out = outlet(sink, health, lossless=True)
    assert out.ready(WAIT_S)
    for number in range(1000):
        out.send(message(number))
    assert out.close(WAIT_S)
    assert health.report()["states"]["sink0"] == {"state": "failed", "detail": "ValueError: bug"}
    assert repr(out.error) == "ValueError('bug')"
    assert "bug" in caplog.text


def test_a_stuck_sink_costs_its_own_messages_only():
    release = threading.Event()

    class Stuck(Recorder):
        def send(self, status: Status) -> None:
            release.wait(WAIT_S)
            super().send(status)

    sink, health = Stuck(), Health()
    out = outlet(sink, health)
    assert out.ready(WAIT_S)
    for number in range(100):
        out.send(message(number))  # returns at once, whatever the sink does
    release.set()
    assert sink.full.wait(WAIT_S)
    assert out.close(WAIT_S)
    assert health.counter("sink0", "drop.sink_slow") == 100 - len(sink.got) > 0
    assert sink.got[-1] == 99


def test_a_burst_fits_into_the_room_that_was_asked_for():
    health, release = Health(), threading.Event()

    class Stuck(Recorder):
        def send(self, status: Status) -> None:
            release.wait(WAIT_S)
            super().send(status)

    sink = Stuck()
    out = SinkThread("sink0", lambda: sink, Impatient(), health, lossless=False, room=300)
    out.start()
    for number in range(300):
        out.send(message(number))
    release.set()
    assert out.close(WAIT_S)
    assert (sink.got, health.dropped("sink0")) == (list(range(300)), 0)


def test_what_is_wrong_with_a_sinks_settings_is_said_at_construction():
    def make() -> Recorder:
        raise ConfigError("the folder does not exist")

    with pytest.raises(ConfigError, match="the folder does not exist"):
        SinkThread("sink0", make, Impatient(), Health(), lossless=False)


def test_nothing_is_lost_while_a_lossless_pipelines_sink_is_still_being_opened():
    open_it = threading.Event()

    class Slow(Recorder):
        def open(self) -> None:
            open_it.wait(WAIT_S)

    sink, health = Slow(), Health()
    out = outlet(sink, health, lossless=True)
    sender = threading.Thread(target=lambda: [out.send(message(number)) for number in range(100)])
    sender.start()
    sender.join(0.05)  # it waits, the slot being full
    open_it.set()
    sender.join(WAIT_S)
    assert out.close(WAIT_S)
    assert sink.got == list(range(100))


def test_a_stop_waits_for_a_recording_that_is_written_only_at_the_end():
    class Recording(Recorder):
        close_timeout_s = WAIT_S
        leaving, write = threading.Event(), threading.Event()

        def close(self) -> None:
            self.leaving.set()
            self.write.wait(WAIT_S)
            super().close()

    sink = Recording()
    out = outlet(sink, Health())
    assert out.ready(WAIT_S)
    closed = []
    closer = threading.Thread(target=lambda: closed.append(out.close(0.001)))
    closer.start()
    assert sink.leaving.wait(WAIT_S)
    sink.write.set()
    closer.join(WAIT_S)
    assert (closed, sink.closed) == ([True], 1)
