"""The camera's picture behind the keypoints: off unless set, small, and only while a page shows it."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sinks.browser import Browser
from sinks.browser.pictures import MAX_SIDE_PX, jpeg
from sources.detected import DetectorSource
from sources.opencv import OpenCV
from stream.cameras.opencv import load_cv2
from stream.errors import ConfigError, EndOfStream
from stream.messages import Frame, Header, KeypointFrame
from stream.protocols import ComponentContext, opened
from stream.snapshots import Snapshots
from tests.sinks.browser.chromium import Chromium, wait_until
from tests.sinks.browser.test_server import file_in, page_socket
from tests.sinks.browser.walkers import Sender, meta
from tests.sources.media import write_video

TIMEOUT_S = 30.0
RED, BLUE = (254, 0, 0), (0, 0, 254)  # of the two upper quarters of the video


class NobodyDetector:
    """Detects no person in any frame."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def detect(self, frame: Frame) -> KeypointFrame:
        return KeypointFrame(frame.header, frame.size_wh, "blazepose33", (), frame.header.captured_ns)


@contextmanager
def video_camera(path: Path, snapshots: Snapshots) -> Iterator[None]:
    """A thread that reads a video file as the camera cam0, at its own pace and again and again."""
    stop = threading.Event()
    context = ComponentContext("cam0", snapshots=snapshots)

    def run() -> None:
        while not stop.is_set():
            camera = OpenCV(OpenCV.Settings(url=str(path)), context)
            with opened(DetectorSource(camera, NobodyDetector(), context)) as source:
                try:
                    while not stop.is_set():
                        source.read(0.1)
                except EndOfStream:
                    continue

    thread = threading.Thread(target=run, name="video camera")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "numbered.mp4", 250)


@contextmanager
def viewer(snapshots: Snapshots, picture_hz: float = 5.0) -> Iterator[Browser]:
    settings = Browser.Settings(port=0, picture_hz=picture_hz)
    with opened(Browser(settings, ComponentContext("view", snapshots=snapshots))) as sink:
        yield sink


def share_of(image: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Share of pixels of about this colour."""
    return float((np.abs(image.astype(int) - colour).max(axis=-1) < 25).mean())


def test_large_images_are_made_smaller_and_keep_their_colours():
    image = np.zeros((720, 1280, 3), np.uint8)
    image[..., 0] = 200
    decoded = Image.open(io.BytesIO(jpeg(load_cv2(), image)))
    assert (decoded.format, decoded.size) == ("JPEG", (MAX_SIDE_PX, 360))
    assert np.abs(np.array(decoded)[100, 100] - np.array([200, 0, 0])).max() < 5
    assert Image.open(io.BytesIO(jpeg(load_cv2(), image[:90, :160]))).size == (160, 90)


def test_a_page_gets_pictures_of_the_camera_it_watches_and_no_other_page_gets_them(video: Path):
    snapshots = Snapshots()
    with viewer(snapshots) as sink, video_camera(video, snapshots):
        sink.send(meta())
        with page_socket(sink) as watching, page_socket(sink) as other:
            watching.send('{"type": "watch", "source": "cam0"}')
            times = []
            while len(times) < 3:
                message = watching.recv(timeout=TIMEOUT_S)
                if isinstance(message, bytes):
                    document, body = file_in(message)
                    assert (document["schema"], document["source"]) == ("picture", "cam0")
                    times.append(document["t_capture_ns"])
                    image = np.array(Image.open(io.BytesIO(body)))
                    assert image.shape == (120, 160, 3)
                    assert share_of(image, RED) > 0.2
            assert times == sorted(set(times))
            other.send('{"type": "ping", "sent": 1}')
            received = [other.recv(timeout=TIMEOUT_S) for _ in range(3)]
            assert all(isinstance(text, str) for text in received)
            watching.send('{"type": "watch", "source": null}')
            long_ago_ns = -(10**12)  # so that asking requests no further frames
            wait_until(
                lambda: snapshots.latest("cam0", long_ago_ns) is None, TIMEOUT_S, "the image is dropped"
            )


def test_unknown_cameras_are_not_requested():
    snapshots = Snapshots()
    with viewer(snapshots) as sink, page_socket(sink) as client:
        client.recv(timeout=TIMEOUT_S)
        client.send('{"type": "watch", "source": "cam7"}')
        client.send('{"type": "ping", "sent": 1}')
        client.recv(timeout=TIMEOUT_S)
        frame = Frame(Header("cam7", 0, 0, 0), np.zeros((2, 2, 3), np.uint8))
        snapshots.offer(frame, 0)
        assert snapshots.latest("cam7", 0) is None


def test_pictures_are_off_by_default(chromium: Chromium):
    with viewer(Snapshots(), picture_hz=Browser.Settings().picture_hz) as sink, Sender(sink):
        page = chromium.page(sink.endpoint)
        page.wait_for_state("live")
        assert not page.shows("#pictures-on")
        page.close()


def test_pictures_above_the_limit_are_refused():
    with pytest.raises(ConfigError, match="picture_hz: expected 0 to 5, got 30"):
        Browser.Settings(picture_hz=30)


def test_the_page_shows_the_picture_behind_the_keypoints_and_that_it_is_on(chromium: Chromium, video: Path):
    snapshots = Snapshots()
    with viewer(snapshots) as sink, Sender(sink) as sender, video_camera(video, snapshots):
        page = chromium.page(sink.endpoint)
        page.wait_for_state("live")
        page.wait_for("document.getElementById('keypoints').dataset.picture === 'true'")
        assert page.text("#pictures-on") == "Camera picture is on"
        image = page.screenshot("#keypoints")
        assert share_of(image, RED) > 0.15
        assert share_of(image, BLUE) > 0.15
        sender.poses = False  # the picture stays, without keypoints
        page.wait_for_state("stale")
        page.wait_for("document.getElementById('keypoints').dataset.picture === 'true'")
        page.press(" ")
        page.wait_for("document.getElementById('keypoints').dataset.picture === 'false'")
        assert page.complaints == []
        page.close()


def test_a_phone_that_does_not_show_the_keypoints_gets_no_pictures_until_they_are_scrolled_into_view(
    chromium: Chromium, video: Path
):
    snapshots = Snapshots()
    with viewer(snapshots) as sink, Sender(sink), video_camera(video, snapshots):
        page = chromium.page(sink.endpoint, (390, 500))
        page.wait_for_state("live")
        assert page.evaluate("document.getElementById('keypoints').dataset.picture") == "false"
        page.evaluate("document.getElementById('keypoints').scrollIntoView()")
        page.wait_for("document.getElementById('keypoints').dataset.picture === 'true'")
        page.close()
