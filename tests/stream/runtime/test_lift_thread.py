import threading

from stream.clock import SystemClock
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
