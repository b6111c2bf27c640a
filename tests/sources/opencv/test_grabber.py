import threading
from types import SimpleNamespace

import numpy as np
import pytest

from sources.opencv import OpenCV, capture
from sources.opencv.grabber import LatestFrameReader
from stream.clock import FakeClock
from stream.errors import ConfigError, SourceLost, SourceUnavailable
from stream.messages import U8, Header
from stream.protocols import ComponentContext, opened
from tests.sources.media import play


class FakeCapture:
    """A camera that shows `images` (None: undecodable), then hangs until it is let go, then ends."""

    def __init__(self, *images: U8 | None) -> None:
        self._images = list(images)
        self._image: U8 | None = None
        self.hangs = threading.Event()
        self.let_go = threading.Event()
        self.released = threading.Event()

    def grab(self) -> bool:
        if self._images:
            self._image = self._images.pop(0)
            return True
        self.hangs.set()
        self.let_go.wait()
        return False

    def image(self) -> U8 | None:
        return self._image

    def release(self) -> None:
        self.released.set()


IMAGE = np.full((2, 3, 3), 7, np.uint8)


def test_closing_returns_though_the_camera_hangs_and_the_camera_is_released_when_it_answers() -> None:
    camera = FakeCapture(IMAGE)
    grabber = LatestFrameReader(lambda: camera, "camera 0", 5.0, ComponentContext("cam0"))
    grabber.open(5.0)
    camera.hangs.wait()
    grabber.close()
    assert not camera.released.is_set()
    camera.let_go.set()
    assert camera.released.wait(10)


def test_a_camera_that_hangs_while_opening_is_unavailable() -> None:
    answer = threading.Event()
    camera = FakeCapture()

    def connect() -> FakeCapture:
        answer.wait()
        return camera

    grabber = LatestFrameReader(connect, "camera 0", 5.0, ComponentContext("cam0", clock=FakeClock()))
    with pytest.raises(SourceUnavailable, match="camera 0 did not open within 3 s"):
        grabber.open(3.0)
    camera.let_go.set()
    answer.set()
    assert camera.released.wait(10)  # what opens too late is closed again


def test_what_opening_raises_is_raised_to_the_opener() -> None:
    def connect() -> FakeCapture:
        raise ConfigError("no such camera")

    with pytest.raises(ConfigError, match="no such camera"):
        LatestFrameReader(connect, "camera 0", 5.0, ComponentContext("cam0")).open(5.0)


def test_the_last_frame_is_read_before_the_loss_is_told_again_and_again() -> None:
    camera = FakeCapture(IMAGE)
    camera.let_go.set()
    clock = FakeClock()
    grabber = LatestFrameReader(lambda: camera, "camera 0", 5.0, ComponentContext("cam0", clock=clock))
    grabber.open(5.0)
    frame = grabber.read(5.0)
    assert frame is not None
    assert frame.header == Header("cam0", 0, clock.now_ns(), clock.unix_ns())
    assert frame.image is IMAGE
    for _ in range(2):
        with pytest.raises(SourceLost, match="camera 0 has stopped sending"):
            grabber.read(5.0)
    grabber.close()


def test_a_camera_that_falls_silent_is_lost_though_its_read_hangs() -> None:
    camera = FakeCapture()
    clock = FakeClock()
    grabber = LatestFrameReader(lambda: camera, "camera 0", 2.0, ComponentContext("cam0", clock=clock))
    grabber.open(5.0)
    clock.advance(2.0)
    assert grabber.read(0.0) is None
    clock.advance(0.1)
    with pytest.raises(SourceLost, match="camera 0 has sent no frame for 2 s"):
        grabber.read(0.0)
    camera.let_go.set()
    grabber.close()


def test_a_frame_that_cannot_be_decoded_is_counted_and_leaves_a_gap_in_seq() -> None:
    camera = FakeCapture(None, IMAGE)
    context = ComponentContext("cam0")
    grabber = LatestFrameReader(lambda: camera, "camera 0", 5.0, context)
    grabber.open(5.0)
    frame = grabber.read(5.0)
    assert frame is not None
    assert frame.header.seq == 1
    assert context.health.counter("cam0", "drop.undecodable") == 1
    camera.let_go.set()
    grabber.close()


def test_a_camera_is_asked_for_its_format_before_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    class FakeVideoCapture:
        def __init__(self, *camera: object) -> None:
            asked.append(("open", *camera))

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def set(self, prop: str, value: object) -> None:
            asked.append((prop, value))

        def get(self, prop: str) -> float:
            return {"width": 1280.0, "height": 720.0}[prop]

        def grab(self) -> bool:
            return False

        def release(self) -> None:
            asked.append(("release",))

    cv2 = SimpleNamespace(
        VideoCapture=FakeVideoCapture,
        VideoWriter=SimpleNamespace(fourcc=lambda *letters: "".join(letters)),
        CAP_PROP_FOURCC="fourcc",
        CAP_PROP_FRAME_WIDTH="width",
        CAP_PROP_FRAME_HEIGHT="height",
        CAP_PROP_FPS="fps",
    )
    monkeypatch.setattr(capture, "load_cv2", lambda: cv2)
    settings = OpenCV.Settings(url="2", width=1280, height=720, fps=60.0, fourcc="MJPG")
    with opened(OpenCV(settings, ComponentContext("cam0"))) as source, pytest.raises(SourceLost):
        next(play(source))
    assert asked == [
        ("open", 2),
        ("fourcc", "MJPG"),
        ("width", 1280),
        ("height", 720),
        ("fps", 60.0),
        ("release",),
    ]
