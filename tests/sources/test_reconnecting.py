import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterable

import pytest

from sources.opencv import OpenCV
from sources.reconnecting import Reconnecting, backoff
from stream.clock import FakeClock
from stream.errors import ConfigError, EndOfStream, SourceLost, SourceUnavailable
from stream.messages import Header, KeypointFrame
from stream.protocols import ComponentContext, opened
from tests.sources.media import MotionJPEG, number_of

Item = int | None | Exception


class Script:
    """A source that plays `items`: a seq to deliver, None for nothing yet, or an error to raise."""

    live = True

    def __init__(self, *items: Item, opening: Exception | None = None, camera: str = "cam0") -> None:
        self._items = iter(items)
        self._opening = opening
        self._camera = camera
        self.closed = threading.Event()
        self.timeouts: list[float] = []

    def open(self) -> None:
        if self._opening is not None:
            raise self._opening

    def close(self) -> None:
        self.closed.set()

    def read(self, timeout_s: float) -> KeypointFrame | None:
        self.timeouts.append(timeout_s)
        item = next(self._items)
        if isinstance(item, Exception):
            raise item
        if item is None:
            return None
        return KeypointFrame(Header(self._camera, item, item, item), (4, 2), "h36m17", (), item)


def make(*scripts: Script) -> Callable[[], Script]:
    return iter(scripts).__next__


def reconnecting(*scripts: Script, context: ComponentContext | None = None) -> Reconnecting:
    return Reconnecting(
        make(*scripts), context or ComponentContext("cam0", clock=FakeClock()), random.Random(1)
    )


def some(source: Reconnecting, count: int) -> list[int]:
    """The seqs of the next `count` frames."""
    frames = (source.read(0.01) for _ in itertools.repeat(None))
    return [frame.header.seq for frame in itertools.islice(filter(None, frames), count)]


def test_a_lost_source_is_opened_again_and_its_seq_goes_on() -> None:
    first = Script(0, 1, 2, SourceLost("unplugged"))
    second = Script(0, 1, SourceLost("unplugged"))
    third = Script(100, 101)
    with opened(reconnecting(first, second, third)) as source:
        assert some(source, 7) == [0, 1, 2, 3, 4, 100, 101]
        assert first.closed.is_set()
        assert second.closed.is_set()
        assert not third.closed.is_set()
    assert third.closed.is_set()


def test_everything_but_the_seq_of_a_frame_is_kept() -> None:
    with opened(reconnecting(Script(0, SourceLost("unplugged")), Script(0))) as source:
        some(source, 1)
        while (frame := source.read(0.01)) is None:
            pass
    assert frame.header == Header("cam0", 1, 0, 0)
    assert (frame.size_wh, frame.skeleton, frame.persons, frame.detected_ns) == ((4, 2), "h36m17", (), 0)


def test_cameras_behind_one_source_all_go_on_after_the_highest_seq() -> None:
    class Two(Script):
        def read(self, timeout_s: float) -> KeypointFrame | None:
            self._camera = "cam1" if self._camera == "cam0" else "cam0"
            return super().read(timeout_s)

    with opened(reconnecting(Two(5, 90, 6, SourceLost("gone")), Two(1, 0, 2))) as source:
        assert some(source, 6) == [5, 90, 6, 92, 91, 93]


def test_outages_are_told_in_health_and_once_per_change_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    context = ComponentContext("cam0", clock=FakeClock())
    scripts = [
        Script(opening=SourceUnavailable("camera 0 is not there")),
        Script(opening=SourceUnavailable("camera 0 is not there")),
        Script(0, SourceLost("camera 0 has stopped sending")),
        Script(SourceLost("camera 0 has stopped sending")),
        Script(0, EndOfStream("over")),
    ]
    caplog.set_level(logging.INFO)
    with opened(reconnecting(*scripts, context=context)) as source:
        assert some(source, 1) == [0]
        assert context.health.report()["states"]["cam0"]["state"] == "ok"
        assert source.read(0.01) is None
        assert context.health.report()["states"]["cam0"] == {
            "state": "lost",
            "detail": "camera 0 has stopped sending",
        }
        assert some(source, 1) == [1]
        assert context.health.report()["states"]["cam0"]["state"] == "ok"
    assert [record.getMessage() for record in caplog.records] == [
        "cam0: camera 0 is not there; trying again until it works",
        "cam0: is back",
        "cam0: camera 0 has stopped sending; opening it again",
        "cam0: is back",
    ]


def test_a_source_that_opens_at_once_is_ok_before_its_first_frame() -> None:
    context = ComponentContext("cam0", clock=FakeClock())
    script = Script(*[None] * 1000)
    with opened(reconnecting(script, context=context)) as source:
        while not script.timeouts:
            assert source.read(0.0) is None
        assert context.health.report()["states"]["cam0"]["state"] == "ok"


def test_the_end_and_mistakes_pass_through() -> None:
    with opened(reconnecting(Script(0, EndOfStream("over"), EndOfStream("over")))) as source:
        assert some(source, 1) == [0]
        for _ in range(2):
            with pytest.raises(EndOfStream, match="over"):
                source.read(0.01)
    with opened(reconnecting(Script(opening=ConfigError("no such file")))) as source:
        for _ in range(2):
            with pytest.raises(ConfigError, match="no such file"):
                some(source, 1)


def test_settings_are_checked_at_construction() -> None:
    def refuse() -> Script:
        raise ConfigError("fps: expected a number")

    with pytest.raises(ConfigError, match="fps: expected a number"):
        Reconnecting(refuse, ComponentContext("cam0"))


def test_reads_keep_to_their_timeout_while_a_camera_takes_its_time_to_open_or_close() -> None:
    answer = threading.Event()

    class Slow(Script):
        def open(self) -> None:
            answer.wait()

        def close(self) -> None:
            answer.wait()
            super().close()

    first, second = Slow(0, SourceLost("unplugged")), Slow(0, EndOfStream("over"))
    with opened(reconnecting(first, second)) as source:
        assert [source.read(0.01) for _ in range(5)] == [None] * 5
        answer.set()
        assert some(source, 1) == [0]
        answer.clear()
        assert [source.read(0.01) for _ in range(5)] == [None] * 5
        answer.set()
        assert some(source, 1) == [1]


def test_what_opens_after_the_stop_is_closed_again() -> None:
    answer = threading.Event()

    class Slow(Script):
        def open(self) -> None:
            answer.wait()

    script = Slow(0)
    with opened(reconnecting(script)) as source:
        assert source.read(0.0) is None
    assert not script.closed.is_set()
    answer.set()
    assert script.closed.wait(10)
    source.close()


def test_the_time_an_opening_took_is_not_spent_again_on_the_read() -> None:
    clock = FakeClock()
    script = Script(0)
    with opened(reconnecting(script, context=ComponentContext("cam0", clock=clock))) as source:
        start_ns = clock.now_ns()
        while source.read(2.0) is None:
            start_ns = clock.now_ns()
        assert clock.now_ns() == start_ns
    assert script.timeouts == [2.0]


def test_waits_double_up_to_fifteen_seconds_less_a_seeded_part() -> None:
    first = list(itertools.islice(backoff(random.Random(7)), 8))
    again = list(itertools.islice(backoff(random.Random(7)), 8))
    other = list(itertools.islice(backoff(random.Random(8)), 8))
    assert first == again
    assert first != other
    for waits in (first, other):
        for wait, most in zip(waits, (0.5, 1, 2, 4, 8, 15, 15, 15), strict=True):
            assert most / 2 <= wait <= most


def test_waits_start_anew_only_once_a_source_has_delivered() -> None:
    class Watch(FakeClock):
        def __init__(self) -> None:
            super().__init__()
            self.waits: list[float] = []

        def wait(self, event: threading.Event, timeout_s: float) -> bool:
            if threading.current_thread().name == "open:cam0":
                self.waits.append(timeout_s)
            return super().wait(event, timeout_s)

    clock = Watch()
    gone = [Script(SourceLost("gone")) for _ in range(3)]
    with opened(
        reconnecting(
            *gone, Script(0, SourceLost("gone")), Script(0), context=ComponentContext("cam0", clock=clock)
        )
    ) as s:
        assert some(s, 2) == [0, 1]
    assert waits_fit(clock.waits, (0.5, 1, 2, 0.5))


def waits_fit(waits: list[float], most: Iterable[float]) -> bool:
    return all(limit / 2 <= wait <= limit for wait, limit in zip(waits, most, strict=True))


def test_a_network_camera_that_is_killed_and_started_again_goes_on() -> None:
    camera = MotionJPEG()
    context = ComponentContext("cam0")
    settings = OpenCV.Settings(url=camera.url)

    def number_and_seq(source: Reconnecting) -> tuple[int, int]:
        while (frame := source.read(0.05)) is None:
            pass
        return number_of(frame.image), frame.header.seq  # type: ignore[attr-defined]

    with opened(Reconnecting(lambda: OpenCV(settings, context), context)) as source:  # type: ignore[arg-type,return-value]
        before = [number_and_seq(source) for _ in range(5)]
        camera.kill()
        while context.health.report()["states"]["cam0"]["state"] == "ok":
            source.read(0.05)
        with MotionJPEG(port=camera.port, first=500):
            after = [number_and_seq(source) for _ in range(5)]
        assert context.health.report()["states"]["cam0"]["state"] == "ok"
    assert before[-1][0] < 500 <= after[0][0]
    seqs = [seq for _, seq in before + after]
    assert seqs == sorted(set(seqs))
