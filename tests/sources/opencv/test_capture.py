import os
import threading
from types import SimpleNamespace

import pytest

from sources.opencv import OpenCV, capture
from sources.opencv.capture import SharedEnvironmentVariable
from stream.errors import SourceLost, SourceUnavailable
from stream.protocols import ComponentContext, opened
from tests.sources.media import read_all


def test_a_stream_is_opened_with_its_timeouts_and_without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    monkeypatch.delenv(variable, raising=False)
    arguments: list[object] = []

    class FailingCapture:
        def __init__(self, *args: object) -> None:
            arguments.extend([*args, os.environ.get(variable)])

        def isOpened(self) -> bool:  # noqa: N802
            return False

    cv2 = SimpleNamespace(
        VideoCapture=FailingCapture,
        CAP_FFMPEG="ffmpeg",
        CAP_PROP_OPEN_TIMEOUT_MSEC="open",
        CAP_PROP_READ_TIMEOUT_MSEC="read",
        CAP_PROP_N_THREADS="threads",
    )
    monkeypatch.setattr(capture, "load_cv2", lambda: cv2)
    settings = OpenCV.Settings(url="rtsp://cam/1", open_timeout_s=3.0, read_timeout_s=1.5)
    with pytest.raises(SourceUnavailable, match=r"rtsp://cam/1 could not be opened"):
        OpenCV(settings, ComponentContext("cam0")).open()
    params = ["open", 3000, "read", 1500, "threads", 1]
    assert arguments == ["rtsp://cam/1", "ffmpeg", params, "rtsp_transport;tcp|fflags;nobuffer"]
    assert variable not in os.environ


def test_the_format_is_requested_from_a_camera_before_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    class FakeVideoCapture:
        def __init__(self, *camera: object) -> None:
            calls.append(("open", *camera))

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def set(self, prop: str, value: object) -> None:
            calls.append((prop, value))

        def get(self, prop: str) -> float:
            return {"width": 1280.0, "height": 720.0}[prop]

        def grab(self) -> bool:
            return False

        def release(self) -> None:
            calls.append(("release",))

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
        next(read_all(source))
    assert calls == [
        ("open", 2),
        ("fourcc", "MJPG"),
        ("width", 1280),
        ("height", 720),
        ("fps", 60.0),
        ("release",),
    ]


def test_threads_share_a_value_of_an_environment_variable_and_other_values_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPTIONS", "before")
    variable = SharedEnvironmentVariable("OPTIONS")
    values, entered = [], threading.Event()

    def use_other_value() -> None:
        entered.set()
        with variable.set(None):
            values.append(os.environ.get("OPTIONS"))

    thread = threading.Thread(target=use_other_value, daemon=True)
    with variable.set("a;1"):
        with variable.set("a;1"):
            thread.start()
            entered.wait()
            assert os.environ["OPTIONS"] == "a;1"
        assert values == []
    thread.join()
    assert values == [None]
    assert os.environ["OPTIONS"] == "before"
