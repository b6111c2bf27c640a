import threading

import numpy as np
import pytest

from sources.opencv.latest_frame_reader import LatestFrameReader
from stream.clock import FakeClock
from stream.errors import ConfigError, SourceLost, SourceUnavailable
from stream.messages import U8, Header
from stream.protocols import ComponentContext


class FakeCapture:
    """A camera that gives `images` (None: undecodable), then blocks until `unblock` is set, then ends."""

    def __init__(self, *images: U8 | None) -> None:
        self._images = list(images)
        self._image: U8 | None = None
        self.blocked = threading.Event()
        self.unblock = threading.Event()
        self.released = threading.Event()

    def grab(self) -> bool:
        if self._images:
            self._image = self._images.pop(0)
            return True
        self.blocked.set()
        self.unblock.wait()
        return False

    def image(self) -> U8 | None:
        return self._image

    def release(self) -> None:
        self.released.set()


IMAGE = np.full((2, 3, 3), 7, np.uint8)


def test_closing_returns_while_a_read_blocks_and_the_camera_is_released_once_it_returns() -> None:
    camera = FakeCapture(IMAGE)
    reader = LatestFrameReader(lambda: camera, "camera 0", 5.0, ComponentContext("cam0"))
    reader.open(5.0)
    camera.blocked.wait()
    reader.close()
    assert not camera.released.is_set()
    camera.unblock.set()
    assert camera.released.wait(10)


def test_a_frame_is_stamped_when_it_is_grabbed_and_not_after_decoding() -> None:
    clock = FakeClock()
    grabbed_ns = clock.now_ns()

    class SlowDecoder(FakeCapture):
        def image(self) -> U8 | None:
            clock.advance(0.5)
            return super().image()

    camera = SlowDecoder(IMAGE)
    reader = LatestFrameReader(lambda: camera, "camera 0", 5.0, ComponentContext("cam0", clock=clock))
    reader.open(5.0)
    camera.blocked.wait()
    frame = reader.read(0.0)
    assert frame is not None
    assert frame.header.captured_ns == grabbed_ns
    assert clock.now_ns() == grabbed_ns + 500_000_000
    camera.unblock.set()
    reader.close()


def test_a_camera_that_blocks_while_it_opens_is_unavailable() -> None:
    may_open = threading.Event()
    camera = FakeCapture()

    def connect() -> FakeCapture:
        may_open.wait()
        return camera

    reader = LatestFrameReader(connect, "camera 0", 5.0, ComponentContext("cam0", clock=FakeClock()))
    with pytest.raises(SourceUnavailable, match="camera 0 did not open within 3 s"):
        reader.open(3.0)
    camera.unblock.set()
    may_open.set()
    assert camera.released.wait(10)  # a capture that opens too late is closed again


def test_errors_of_opening_are_raised_to_the_caller_of_open() -> None:
    def connect() -> FakeCapture:
        raise ConfigError("no such camera")

    with pytest.raises(ConfigError, match="no such camera"):
        LatestFrameReader(connect, "camera 0", 5.0, ComponentContext("cam0")).open(5.0)


def test_the_last_frame_is_read_before_every_further_read_raises_source_lost() -> None:
    camera = FakeCapture(IMAGE)
    camera.unblock.set()
    clock = FakeClock()
    grabbed = Header("cam0", 0, clock.now_ns(), clock.unix_ns())
    reader = LatestFrameReader(lambda: camera, "camera 0", 5.0, ComponentContext("cam0", clock=clock))
    reader.open(5.0)
    frame = reader.read(5.0)
    assert frame is not None
    assert frame.header == grabbed
    assert frame.image is IMAGE
    for _ in range(2):
        with pytest.raises(SourceLost, match="camera 0 has stopped sending"):
            reader.read(5.0)
    reader.close()


def test_a_camera_without_frames_for_too_long_is_lost_while_its_read_blocks() -> None:
    camera = FakeCapture()
    clock = FakeClock()
    reader = LatestFrameReader(lambda: camera, "camera 0", 2.0, ComponentContext("cam0", clock=clock))
    reader.open(5.0)
    clock.advance(2.0)
    assert reader.read(0.0) is None
    clock.advance(0.1)
    with pytest.raises(SourceLost, match="camera 0 has sent no frame for 2 s"):
        reader.read(0.0)
    camera.unblock.set()
    reader.close()


def test_a_frame_that_cannot_be_decoded_is_counted_and_leaves_a_gap_in_seq() -> None:
    camera = FakeCapture(None, IMAGE)
    context = ComponentContext("cam0")
    reader = LatestFrameReader(lambda: camera, "camera 0", 5.0, context)
    reader.open(5.0)
    frame = reader.read(5.0)
    assert frame is not None
    assert frame.header.seq == 1
    assert context.health.counter("cam0", "drop.undecodable") == 1
    camera.unblock.set()
    reader.close()


class StumblingCamera(FakeCapture):
    """A stream in which every second part is damaged, so that a call of grab fails."""

    def __init__(self, *images: U8) -> None:
        super().__init__(*images)
        self._damaged = True

    def grab(self) -> bool:
        self._damaged = not self._damaged
        return not self._damaged and super().grab()


def test_a_damaged_part_is_counted_and_no_end_of_the_stream() -> None:
    context = ComponentContext("cam0", clock=FakeClock())
    camera = StumblingCamera(*[IMAGE] * 5)
    reader = LatestFrameReader(lambda: camera, "camera 0", 60.0, context)
    reader.open(5.0)
    camera.blocked.wait()
    frame = reader.read(0.0)
    assert frame is not None
    assert frame.header.seq == 4
    assert context.health.counter("cam0", "drop.undecodable") == 5
    camera.unblock.set()
    reader.close()


class TickingCamera(FakeCapture):
    """A camera whose every image comes a second after the one before."""

    def __init__(self, clock: FakeClock, *images: U8) -> None:
        super().__init__(*images)
        self._clock = clock

    def grab(self) -> bool:
        self._clock.advance(1)
        return super().grab()


def read_all(reader: LatestFrameReader) -> None:
    """Read until the camera is lost."""
    while True:
        reader.read(5.0)


def test_a_camera_that_repeats_one_picture_is_lost_and_counted() -> None:
    clock = FakeClock()
    context = ComponentContext("cam0", clock=clock)
    camera = TickingCamera(clock, *[IMAGE] * 30)
    reader = LatestFrameReader(lambda: camera, "camera 0", 60.0, context, frozen_s=20.0)
    reader.open(5.0)
    with pytest.raises(SourceLost, match="camera 0 has sent the same picture for 20 s"):
        read_all(reader)
    assert context.health.counter("cam0", "frozen") == 1
    assert camera.released.wait(10)


@pytest.mark.parametrize("frozen_s", [20.0, None])
def test_a_camera_is_kept_while_its_picture_changes_or_without_a_limit(frozen_s: float | None) -> None:
    clock = FakeClock()
    context = ComponentContext("cam0", clock=clock)
    images = [IMAGE + (number // 15 if frozen_s else 0) for number in range(60)]
    camera = TickingCamera(clock, *(image.astype(np.uint8) for image in images))
    camera.unblock.set()
    reader = LatestFrameReader(lambda: camera, "camera 0", 600.0, context, frozen_s)
    reader.open(5.0)
    with pytest.raises(SourceLost, match="camera 0 has stopped sending"):
        read_all(reader)
    assert context.health.counter("cam0", "frozen") == 0
