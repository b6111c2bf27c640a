import numpy as np
import pytest

from sources.detected import DetectorSource
from stream.clock import FakeClock
from stream.errors import EndOfStream, SourceUnavailable
from stream.messages import Frame, Header, KeypointFrame
from stream.protocols import ComponentContext, opened


class Component:
    """Records in `events` when it is opened and closed."""

    def __init__(self, name: str, events: list[str]) -> None:
        self._name, self._events = name, events

    def open(self) -> None:
        self._events.append(f"{self._name} opened")

    def close(self) -> None:
        self._events.append(f"{self._name} closed")


class Camera(Component):
    """Delivers `items`, then ends."""

    def __init__(self, items: list[Frame | None], events: list[str], live: bool = True) -> None:
        super().__init__("camera", events)
        self.live = live
        self._items = items
        self.timeouts: list[float] = []

    def read(self, timeout_s: float) -> Frame | None:
        self.timeouts.append(timeout_s)
        if not self._items:
            raise EndOfStream("the video is over")
        return self._items.pop(0)


class EmptyDetector(Component):
    """Takes 25 ms to detect no person."""

    def __init__(self, clock: FakeClock, events: list[str]) -> None:
        super().__init__("detector", events)
        self._clock = clock

    def detect(self, frame: Frame) -> KeypointFrame:
        self._clock.advance(0.025)
        return KeypointFrame(frame.header, frame.size_wh, "blazepose33", (), self._clock.now_ns())


def frame_at(captured_ns: int) -> Frame:
    return Frame(Header("cam0", 3, captured_ns, 5), np.zeros((2, 4, 3), np.uint8))


def test_a_frame_becomes_keypoints_and_its_delay_and_detection_time_are_measured() -> None:
    clock, events = FakeClock(), list[str]()
    context = ComponentContext("cam0", clock=clock)
    camera = Camera([None, frame_at(clock.now_ns() - 4_000_000)], events)
    with opened(DetectorSource(camera, EmptyDetector(clock, events), context)) as source:
        assert source.live
        assert source.read(0.5) is None
        keypoints = source.read(0.25)
        assert keypoints is not None
        assert (keypoints.header.seq, keypoints.size_wh, keypoints.skeleton) == (3, (4, 2), "blazepose33")
        assert keypoints.detected_ns - keypoints.header.captured_ns == 29_000_000
        with pytest.raises(EndOfStream, match="the video is over"):
            source.read(0.1)
    assert camera.timeouts == [0.5, 0.25, 0.1]
    assert keypoints.capture_ms == 4.0
    assert context.health.report()["stages_ms"]["inference"]["p50"] == 25.0


def test_frames_of_a_file_have_no_capture_delay() -> None:
    clock, events = FakeClock(), list[str]()
    camera = Camera([frame_at(9)], events, live=False)
    with opened(
        DetectorSource(camera, EmptyDetector(clock, events), ComponentContext("cam0", clock=clock))
    ) as source:
        assert not source.live
        keypoints = source.read(0.1)
    assert keypoints is not None
    assert keypoints.capture_ms == 0.0


def test_detector_and_camera_are_closed_once_in_this_order() -> None:
    clock, events = FakeClock(), list[str]()
    source = DetectorSource(
        Camera([], events), EmptyDetector(clock, events), ComponentContext("cam0", clock=clock)
    )
    with opened(source):
        pass
    source.close()
    assert events == ["camera opened", "detector opened", "detector closed", "camera closed"]


def test_the_camera_is_closed_again_when_the_detector_cannot_be_opened() -> None:
    events = list[str]()

    class BrokenDetector(EmptyDetector):
        def open(self) -> None:
            raise SourceUnavailable("no model")

    with pytest.raises(SourceUnavailable, match="no model"):
        DetectorSource(
            Camera([], events), BrokenDetector(FakeClock(), events), ComponentContext("cam0")
        ).open()
    assert events == ["camera opened", "camera closed"]


def test_frames_are_kept_for_components_that_request_them() -> None:
    clock, events = FakeClock(), list[str]()
    context = ComponentContext("cam0", clock=clock)
    frame = frame_at(clock.now_ns())
    assert context.snapshots.latest("cam0", clock.now_ns()) is None
    camera = Camera([frame], events)
    with opened(DetectorSource(camera, EmptyDetector(clock, events), context)) as source:
        source.read(0.1)
    assert context.snapshots.latest("cam0", clock.now_ns()) is frame
