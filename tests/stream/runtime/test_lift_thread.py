import threading

from stream.clock import FakeClock, SystemClock
from stream.runtime.lift_thread import LiftThread
from stream.windows.camera_buffer import CameraBuffer

WAIT_S = 10.0


class Frames:
    """A source with a number of pending frames, and the batch lifter that takes them one by one."""

    busy = False

    def __init__(self, pending: int = 0, ended: bool = False, error: Exception | None = None) -> None:
        self.buffers: list[CameraBuffer] = []
        self.pending = pending
        self.ended = ended
        self.lifted = 0
        self.errors: list[tuple[str, Exception]] = []
        self._error = error
        self._changed = threading.Condition()

    @property
    def drained(self) -> bool:
        return self.ended and not self.pending

    def lift_next_batch(self, buffers: object) -> bool:
        if self._error is not None:
            raise self._error
        with self._changed:
            if not self.pending:
                return False
            self.pending -= 1
            self.lifted += 1
            self._changed.notify_all()
            return True

    def wait_until_lifted(self, frames: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.lifted >= frames, WAIT_S)


def started(frames: Frames) -> LiftThread:
    def on_error(component: str, error: Exception) -> None:
        frames.errors.append((component, error))

    thread = LiftThread(frames, [frames], SystemClock(), on_error)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_the_thread_ends_when_all_sources_are_drained():
    frames = Frames(pending=3, ended=True)
    thread = started(frames)
    assert thread.wait(WAIT_S)
    assert thread.join(WAIT_S)
    assert frames.lifted == 3


def test_waking_lifts_frames_that_have_arrived():
    frames = Frames()
    thread = started(frames)
    for count in (1, 2):
        frames.pending += 1
        thread.wake()
        assert frames.wait_until_lifted(count)
    assert not thread.wait(0.0)
    thread.stop()
    assert thread.join(WAIT_S)


def test_a_stop_still_lifts_the_pending_frames():
    frames = Frames()
    thread = started(frames)
    frames.pending, frames.ended = 5, True
    thread.stop()
    assert thread.wait(WAIT_S)
    assert frames.lifted == 5


def test_a_stop_does_not_wait_for_an_endless_source():
    frames = Frames()
    thread = started(frames)
    thread.stop()
    assert thread.wait(WAIT_S)


def test_an_error_of_the_lifter_is_reported_and_ends_the_thread():
    error = RuntimeError("out of memory")
    frames = Frames(pending=1, error=error)
    thread = started(frames)
    assert thread.wait(WAIT_S)
    assert frames.errors == [("lift", error)]


class RecordingClock(FakeClock):
    """A clock that keeps the durations of all waits, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float] = []

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.waits_s.append(timeout_s)
        return super().wait(event, timeout_s)


class TimedFrames(Frames):
    """Frames that take a millisecond to lift and arrive `interval_s` seconds apart."""

    def __init__(self, clock: FakeClock, interval_s: float) -> None:
        super().__init__()
        self._clock, self._interval_s = clock, interval_s

    @property
    def drained(self) -> bool:  # looked at once before every turn
        self._clock.advance(self._interval_s)
        return self.ended and not self.pending

    def lift_next_batch(self, buffers: object) -> bool:
        if self.pending:
            self._clock.advance(0.001)
        return super().lift_next_batch(buffers)


def waits_s(interval_s: float, turns: int, gather: bool = True) -> list[float]:
    """Waits for further frames while `turns` frames are lifted one by one."""
    clock = RecordingClock()
    frames = TimedFrames(clock, interval_s)
    thread = LiftThread(frames, [frames], clock, lambda *error: None, gather=gather)  # type: ignore[arg-type]
    thread.start()
    for count in range(1, turns + 1):
        frames.pending += 1
        thread.wake()
        assert frames.wait_until_lifted(count)
    frames.ended = True
    thread.stop()
    assert thread.join(WAIT_S)
    return clock.waits_s


def test_a_thread_with_one_camera_lifts_at_once():
    assert waits_s(interval_s=0.02, turns=30) == []


def test_a_busy_thread_waits_for_the_frames_of_further_cameras():
    gathered = waits_s(interval_s=0.0, turns=30)
    assert gathered
    assert max(gathered) < 0.012


def test_a_thread_that_lifts_files_never_waits_for_further_frames():
    assert waits_s(interval_s=0.0, turns=30, gather=False) == []
