import numpy as np
import pytest

from sources.detected import Detected
from stream.clock import FakeClock
from stream.errors import EndOfStream, SourceUnavailable
from stream.messages import Frame, Header, KeypointFrame
from stream.protocols import ComponentContext, opened


class Part:
    """Notes in `diary` when it is opened and closed."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self._name, self._diary = name, diary

    def open(self) -> None:
        self._diary.append(f"{self._name} opened")

    def close(self) -> None:
        self._diary.append(f"{self._name} closed")


class Camera(Part):
    """Delivers `items`, then ends."""

    def __init__(self, items: list[Frame | None], diary: list[str], live: bool = True) -> None:
        super().__init__("camera", diary)
        self.live = live
        self._items = items
        self.timeouts: list[float] = []

    def read(self, timeout_s: float) -> Frame | None:
        self.timeouts.append(timeout_s)
        if not self._items:
            raise EndOfStream("the film is over")
        return self._items.pop(0)


class Finder(Part):
    """Takes 25 ms to find nobody."""

    def __init__(self, clock: FakeClock, diary: list[str]) -> None:
        super().__init__("detector", diary)
        self._clock = clock

    def detect(self, frame: Frame) -> KeypointFrame:
        self._clock.advance(0.025)
        return KeypointFrame(frame.header, frame.size_wh, "blazepose33", (), self._clock.now_ns())


def frame_at(captured_ns: int) -> Frame:
    return Frame(Header("cam0", 3, captured_ns, 5), np.zeros((2, 4, 3), np.uint8))


def test_a_frame_becomes_keypoints_and_its_waiting_and_detection_are_measured() -> None:
    clock, diary = FakeClock(), list[str]()
    context = ComponentContext("cam0", clock=clock)
    camera = Camera([None, frame_at(clock.now_ns() - 4_000_000)], diary)
    with opened(Detected(camera, Finder(clock, diary), context)) as source:
        assert source.live
        assert source.read(0.5) is None
        found = source.read(0.25)
        assert found is not None
        assert (found.header.seq, found.size_wh, found.skeleton) == (3, (4, 2), "blazepose33")
        assert found.detected_ns - found.header.captured_ns == 29_000_000
        with pytest.raises(EndOfStream, match="the film is over"):
            source.read(0.1)
    assert camera.timeouts == [0.5, 0.25, 0.1]
    assert found.capture_ms == 4.0
    assert context.health.report()["stages_ms"]["inference"]["p50"] == 25.0


def test_a_files_frames_count_no_waiting() -> None:
    clock, diary = FakeClock(), list[str]()
    camera = Camera([frame_at(9)], diary, live=False)
    with opened(Detected(camera, Finder(clock, diary), ComponentContext("cam0", clock=clock))) as source:
        assert not source.live
        found = source.read(0.1)
    assert found is not None
    assert found.capture_ms == 0.0


def test_both_parts_are_closed_once_the_detector_first() -> None:
    clock, diary = FakeClock(), list[str]()
    source = Detected(Camera([], diary), Finder(clock, diary), ComponentContext("cam0", clock=clock))
    with opened(source):
        pass
    source.close()
    assert diary == ["camera opened", "detector opened", "detector closed", "camera closed"]


def test_when_the_detector_cannot_open_the_camera_is_closed_again() -> None:
    diary = list[str]()

    class Broken(Finder):
        def open(self) -> None:
            raise SourceUnavailable("no model")

    with pytest.raises(SourceUnavailable, match="no model"):
        Detected(Camera([], diary), Broken(FakeClock(), diary), ComponentContext("cam0")).open()
    assert diary == ["camera opened", "camera closed"]
