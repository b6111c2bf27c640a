import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterable

import pytest

from sources.opencv import OpenCV
from sources.reconnecting import ReconnectingSource
from stream.clock import Backoff, FakeClock
from stream.errors import AddressInUse, ConfigError, EndOfStream, PoseliftError, SourceLost, SourceUnavailable
from stream.messages import Header, KeypointFrame
from stream.protocols import ComponentContext, opened
from tests.sources.media import MotionJPEG, number_of

Item = int | None | Exception


class ScriptedSource:
    """A source whose reads give `items`: a seq to deliver, None for no frame yet, or an error to raise."""

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


def make(*scripts: ScriptedSource) -> Callable[[], ScriptedSource]:
    return iter(scripts).__next__


def reconnecting(*scripts: ScriptedSource, context: ComponentContext | None = None) -> ReconnectingSource:
    return ReconnectingSource(
        make(*scripts), context or ComponentContext("cam0", clock=FakeClock()), random.Random(1)
    )


def seqs(source: ReconnectingSource, count: int) -> list[int]:
    """seq of the next `count` frames."""
    frames = (source.read(0.01) for _ in itertools.repeat(None))
    return [frame.header.seq for frame in itertools.islice(filter(None, frames), count)]


def test_a_lost_source_is_opened_again_and_its_seq_goes_on() -> None:
    first = ScriptedSource(0, 1, 2, SourceLost("unplugged"))
    second = ScriptedSource(0, 1, SourceLost("unplugged"))
    third = ScriptedSource(100, 101)
    with opened(reconnecting(first, second, third)) as source:
        assert seqs(source, 7) == [0, 1, 2, 3, 4, 100, 101]
        assert first.closed.is_set()
        assert second.closed.is_set()
        assert not third.closed.is_set()
    assert third.closed.is_set()


def test_everything_but_the_seq_of_a_frame_is_kept() -> None:
    with opened(reconnecting(ScriptedSource(0, SourceLost("unplugged")), ScriptedSource(0))) as source:
        seqs(source, 1)
        while (frame := source.read(0.01)) is None:
            pass
    assert frame.header == Header("cam0", 1, 0, 0)
    assert (frame.size_wh, frame.skeleton, frame.persons, frame.detected_ns) == ((4, 2), "h36m17", (), 0)


def test_cameras_behind_one_source_all_go_on_after_the_highest_seq() -> None:
    class Two(ScriptedSource):
        def read(self, timeout_s: float) -> KeypointFrame | None:
            self._camera = "cam1" if self._camera == "cam0" else "cam0"
            return super().read(timeout_s)

    with opened(reconnecting(Two(5, 90, 6, SourceLost("gone")), Two(1, 0, 2))) as source:
        assert seqs(source, 6) == [5, 90, 6, 92, 91, 93]


def test_outages_are_reported_in_health_and_each_change_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = ComponentContext("cam0", clock=FakeClock())
    scripts = [
        ScriptedSource(opening=SourceUnavailable("camera 0 is missing")),
        ScriptedSource(opening=SourceUnavailable("camera 0 is missing")),
        ScriptedSource(0, SourceLost("camera 0 has stopped sending")),
        ScriptedSource(SourceLost("camera 0 has stopped sending")),
        ScriptedSource(0, EndOfStream("over")),
    ]
    caplog.set_level(logging.INFO)
    with opened(reconnecting(*scripts, context=context)) as source:
        assert seqs(source, 1) == [0]
        assert context.health.report()["states"]["cam0"]["state"] == "ok"
        assert source.read(0.01) is None
        assert context.health.report()["states"]["cam0"] == {
            "state": "lost",
            "detail": "camera 0 has stopped sending",
        }
        assert seqs(source, 1) == [1]
        assert context.health.report()["states"]["cam0"]["state"] == "ok"
    assert [record.getMessage() for record in caplog.records] == [
        "cam0: camera 0 is missing; trying again until it opens",
        "cam0: is back",
        "cam0: camera 0 has stopped sending; opening it again",
        "cam0: is back",
    ]


def test_a_source_that_opens_at_the_first_attempt_is_ok_before_its_first_frame() -> None:
    context = ComponentContext("cam0", clock=FakeClock())
    script = ScriptedSource(*[None] * 1000)
    with opened(reconnecting(script, context=context)) as source:
        while not script.timeouts:
            assert source.read(0.0) is None
        assert context.health.report()["states"]["cam0"]["state"] == "ok"


def test_the_end_of_the_stream_and_config_errors_are_raised_to_the_reader() -> None:
    with opened(reconnecting(ScriptedSource(0, EndOfStream("over"), EndOfStream("over")))) as source:
        assert seqs(source, 1) == [0]
        for _ in range(2):
            with pytest.raises(EndOfStream, match="over"):
                source.read(0.01)
    with opened(reconnecting(ScriptedSource(opening=ConfigError("no such file")))) as source:
        for _ in range(2):
            with pytest.raises(ConfigError, match="no such file"):
                seqs(source, 1)


@pytest.mark.parametrize("error", [SourceUnavailable("no detector model"), SourceLost("disk removed")])
def test_a_file_that_cannot_be_read_is_an_error_and_not_tried_again(error: PoseliftError) -> None:
    for script in (ScriptedSource(opening=error), ScriptedSource(error)):
        script.live = False
        with opened(reconnecting(script)) as source, pytest.raises(type(error), match=str(error)):
            seqs(source, 1)


def test_settings_are_checked_at_construction() -> None:
    def make_source() -> ScriptedSource:
        raise ConfigError("fps: expected a number")

    with pytest.raises(ConfigError, match="fps: expected a number"):
        ReconnectingSource(make_source, ComponentContext("cam0"))


def test_reads_keep_to_their_timeout_while_a_camera_is_slow_to_open_or_close() -> None:
    answer = threading.Event()

    class Slow(ScriptedSource):
        def open(self) -> None:
            answer.wait()

        def close(self) -> None:
            answer.wait()
            super().close()

    first, second = Slow(0, SourceLost("unplugged")), Slow(0, EndOfStream("over"))
    with opened(reconnecting(first, second)) as source:
        assert [source.read(0.01) for _ in range(5)] == [None] * 5
        answer.set()
        assert seqs(source, 1) == [0]
        answer.clear()
        assert [source.read(0.01) for _ in range(5)] == [None] * 5
        answer.set()
        assert seqs(source, 1) == [1]


def test_a_source_that_opens_after_close_is_closed_again() -> None:
    answer = threading.Event()

    class Slow(ScriptedSource):
        def open(self) -> None:
            answer.wait()

    script = Slow(0)
    with opened(reconnecting(script)) as source:
        assert source.read(0.0) is None
    assert not script.closed.is_set()
    answer.set()
    assert script.closed.wait(10)
    source.close()


def test_the_time_of_opening_counts_towards_the_timeout_of_the_read() -> None:
    clock = FakeClock()
    script = ScriptedSource(0)
    with opened(reconnecting(script, context=ComponentContext("cam0", clock=clock))) as source:
        start_ns = clock.now_ns()
        while source.read(2.0) is None:
            start_ns = clock.now_ns()
        assert clock.now_ns() == start_ns
    assert script.timeouts == [2.0]


def test_delays_double_up_to_fifteen_seconds_and_are_shortened_by_a_seeded_random_part() -> None:
    first, again, other = (Backoff(0.5, 15.0, 0.5, random.Random(seed)) for seed in (7, 7, 8))
    delays_s = [first.next_delay_s() for _ in range(8)]
    assert delays_s == [again.next_delay_s() for _ in range(8)]
    other_delays_s = [other.next_delay_s() for _ in range(8)]
    assert delays_s != other_delays_s
    assert within_backoff(delays_s, (0.5, 1, 2, 4, 8, 15, 15, 15))
    assert within_backoff(other_delays_s, (0.5, 1, 2, 4, 8, 15, 15, 15))


def test_after_a_reset_delays_begin_with_the_shortest() -> None:
    backoff = Backoff(0.5, 15.0, 0.5, random.Random(1))
    for _ in range(5):
        backoff.next_delay_s()
    backoff.reset()
    assert within_backoff([backoff.next_delay_s(), backoff.next_delay_s()], (0.5, 1))


def test_delays_are_reset_only_after_a_source_has_delivered_a_frame() -> None:
    class RecordingClock(FakeClock):
        def __init__(self) -> None:
            super().__init__()
            self.delays_s: list[float] = []

        def wait(self, event: threading.Event, timeout_s: float) -> bool:
            if threading.current_thread().name == "open:cam0":
                self.delays_s.append(timeout_s)
            return super().wait(event, timeout_s)

    clock = RecordingClock()
    gone = [ScriptedSource(SourceLost("gone")) for _ in range(3)]
    with opened(
        reconnecting(
            *gone,
            ScriptedSource(0, SourceLost("gone")),
            ScriptedSource(0),
            context=ComponentContext("cam0", clock=clock),
        )
    ) as source:
        assert seqs(source, 2) == [0, 1]
    assert within_backoff(clock.delays_s, (0.5, 1, 2, 0.5))


def within_backoff(delays_s: list[float], max_delays_s: Iterable[float]) -> bool:
    """Whether each delay is between half of its maximum and the maximum."""
    return all(most / 2 <= delay <= most for delay, most in zip(delays_s, max_delays_s, strict=True))


def test_frames_continue_after_a_network_camera_was_killed_and_restarted() -> None:
    camera = MotionJPEG()
    context = ComponentContext("cam0")
    settings = OpenCV.Settings(url=camera.url)

    def number_and_seq(source: ReconnectingSource) -> tuple[int, int]:
        while (frame := source.read(0.05)) is None:
            pass
        return number_of(frame.image), frame.header.seq  # type: ignore[attr-defined]

    with opened(ReconnectingSource(lambda: OpenCV(settings, context), context)) as source:  # type: ignore[arg-type,return-value]
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


def test_an_address_that_another_program_keeps_at_the_start_is_an_error() -> None:
    taken = [ScriptedSource(opening=AddressInUse("port 5557 is taken")) for _ in range(50)]
    with opened(reconnecting(*taken)) as source, pytest.raises(AddressInUse, match="port 5557 is taken"):
        seqs(source, 1)


def test_an_address_that_becomes_free_soon_is_waited_for() -> None:
    taken = [ScriptedSource(opening=AddressInUse("port 5557 is taken")) for _ in range(2)]
    # By the real clock: reads of the test would advance a fake one past the wait.
    with opened(reconnecting(*taken, ScriptedSource(3), context=ComponentContext("cam0"))) as source:
        assert seqs(source, 1) == [3]


def test_an_address_lost_while_running_is_tried_for_ever() -> None:
    taken = [ScriptedSource(opening=AddressInUse("port 5557 is taken")) for _ in range(50)]
    with opened(reconnecting(ScriptedSource(0, SourceLost("gone")), *taken, ScriptedSource(5))) as source:
        assert seqs(source, 2) == [0, 5]
