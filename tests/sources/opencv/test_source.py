import dataclasses
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sources.opencv import OpenCV, capture
from sources.opencv.capture import _Shared
from stream.clock import FakeClock
from stream.errors import ConfigError, EndOfStream, SourceLost, SourceUnavailable, masked
from stream.messages import Frame, Header
from stream.protocols import ComponentContext, opened
from tests.sources.media import HEIGHT, WIDTH, MotionJPEG, film, number_of, picture, play

FULL: dict[str, Any] = {"pace": "full"}


def opencv(url: int | str | Path, clock: FakeClock | None = None, **settings: object) -> OpenCV:
    url = str(url) if isinstance(url, Path) else url
    context = ComponentContext("cam0", clock=clock) if clock else ComponentContext("cam0")
    return OpenCV(OpenCV.Settings(url=url, **settings), context)  # type: ignore[arg-type]


def frames_of(source: OpenCV) -> list[Frame]:
    """All frames up to the end of the stream."""
    frames: list[Frame] = []
    with opened(source), pytest.raises(EndOfStream):
        frames.extend(play(source))
    return frames


def next_frame(source: OpenCV) -> Frame:
    return next(play(source))


# Files


def test_every_frame_of_a_file_comes_in_order_with_the_times_of_the_file(tmp_path: Path) -> None:
    clock = FakeClock()
    start = Header("cam0", 0, clock.now_ns(), clock.unix_ns())
    frames = frames_of(opencv(film(tmp_path / "video.mp4", 40), clock, **FULL))
    assert [number_of(frame.image) for frame in frames] == list(range(40))
    assert [frame.header for frame in frames] == [
        dataclasses.replace(
            start,
            seq=seq,
            captured_ns=start.captured_ns + seq * 40_000_000,
            captured_unix_ns=start.captured_unix_ns + seq * 40_000_000,
        )
        for seq in range(40)
    ]


def test_frames_are_rgb(tmp_path: Path) -> None:
    (frame,) = frames_of(opencv(film(tmp_path / "video.mp4", 1), **FULL))
    assert frame.size_wh == (WIDTH, HEIGHT)
    left, right = frame.image[HEIGHT // 4, WIDTH // 4], frame.image[HEIGHT // 4, 3 * WIDTH // 4]
    np.testing.assert_allclose(left, (255, 0, 0), atol=8)
    np.testing.assert_allclose(right, (0, 0, 255), atol=8)


def test_a_file_of_varying_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    slower = "settb=1/1000,setpts='if(lt(N,6),N*40,200+(N-5)*90)'"
    options = ["-vf", slower, "-fps_mode", "passthrough", "-enc_time_base", "1:1000"]
    video = film(tmp_path / "video.mkv", 12, *options)
    clock = FakeClock()
    start_ns = clock.now_ns()
    times_ms = [
        (frame.header.captured_ns - start_ns) / 1e6 for frame in frames_of(opencv(video, clock, **FULL))
    ]
    assert times_ms == [0, 40, 80, 120, 160, 200, 290, 380, 470, 560, 650, 740]


def test_a_file_without_times_gets_those_of_its_frame_rate(tmp_path: Path) -> None:
    video = film(tmp_path / "video.h264", 10, "-f", "h264")
    times = [frame.header.captured_ns for frame in frames_of(opencv(video, FakeClock(), **FULL))]
    assert np.diff(times).tolist() == [40_000_000] * 9


def test_at_recorded_pace_a_frame_comes_when_its_time_has_come(tmp_path: Path) -> None:
    clock = FakeClock()
    start_ns = clock.now_ns()
    with opened(opencv(film(tmp_path / "video.mp4", 3), clock)) as source:
        came = []
        for _ in range(5):
            frame = source.read(0.03)
            came.append((frame and frame.header.seq, (clock.now_ns() - start_ns) / 1e6))
    assert came == [(0, 0), (None, 30), (1, 40), (None, 70), (2, 80)]


def test_a_video_filmed_upright_with_a_phone_comes_upright(tmp_path: Path) -> None:
    landscape = film(tmp_path / "landscape.mp4", 1, "-qp", "10")
    data = bytearray(landscape.read_bytes())
    matrix = data.index(b"tkhd") + 44  # the track's display matrix
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    portrait = tmp_path / "portrait.mp4"
    portrait.write_bytes(data)
    (frame,) = frames_of(opencv(portrait, **FULL))
    assert frame.size_wh == (HEIGHT, WIDTH)
    np.testing.assert_allclose(frame.image, np.rot90(picture(0), -1), atol=60)
    shown = ["ffmpeg", "-v", "error", "-i", str(portrait), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    by_ffmpeg = np.frombuffer(subprocess.run(shown, capture_output=True, check=True).stdout, np.uint8)
    assert np.abs(frame.image.ravel().astype(int) - by_ffmpeg).mean() < 4


def test_a_file_that_breaks_off_says_how_much_was_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = film(tmp_path / "whole.mkv", 100)
    assert len(frames_of(opencv(whole, **FULL))) == 100
    assert not caplog.text
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    read = len(frames_of(opencv(cut, **FULL)))
    assert 0 < read < 80
    assert f"cut.mkv breaks off: {read / 25:.1f} s of 4.0 s can be read" in caplog.text


def test_a_file_in_shared_memory_is_no_camera() -> None:
    with pytest.raises(ConfigError, match=r"no such video file: /dev/shm/none.mp4"):
        opencv("/dev/shm/none.mp4")
    assert opencv("/dev/video0", **FULL).live


def test_a_missing_file_is_for_a_person_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"no such video file: {tmp_path}/none.mp4"):
        opencv(tmp_path / "none.mp4")


def test_a_file_that_is_no_video_is_for_a_person_to_mend(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("not a video")
    with pytest.raises(ConfigError, match="is not a video that can be read"):
        opencv(tmp_path / "notes.mp4").open()
    with pytest.raises(ConfigError, match="expected a video file, got the folder"):
        opencv(tmp_path).open()


def test_a_file_is_live_only_at_recorded_pace(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").touch()
    assert opencv(tmp_path / "video.mp4").live
    assert not opencv(tmp_path / "video.mp4", **FULL).live


# Cameras and streams


def test_a_camera_that_is_not_there_is_unavailable() -> None:
    for url in (63, "63", "/dev/video63"):
        source = opencv(url)
        assert source.live
        with pytest.raises(SourceUnavailable, match=r"camera .*63 could not be opened .* plugged in"):
            source.open()


def test_the_newest_frame_of_a_stream_wins_and_the_others_are_counted() -> None:
    with MotionJPEG() as camera, opened(opencv(camera.url)) as source:
        assert source.live
        read = [next_frame(source)]
        camera.wait_for(number_of(read[0].image) + 20)
        read.append(next_frame(source))
        skipped = number_of(read[1].image) - number_of(read[0].image) - 1
        assert skipped >= 10
        assert read[1].header.seq - read[0].header.seq - 1 == skipped
        camera.stall()
        while number_of(read[-1].image) < camera.sent:
            read.append(next_frame(source))
        dropped = source._context.health.counter("cam0", "drop.newest_wins")
        assert len(read) + dropped == read[-1].header.seq + 1
        times = [frame.header.captured_ns for frame in read]
        assert times == sorted(set(times))


def test_a_stream_that_breaks_off_is_lost() -> None:
    with MotionJPEG() as camera, opened(opencv(camera.url)) as source:
        next_frame(source)
        camera.kill()
        with pytest.raises(SourceLost, match=r"http://user:\*\*\*@127.0.0.1:\d+/video has stopped sending"):
            list(play(source))


def test_a_stream_that_falls_silent_is_lost() -> None:
    with MotionJPEG() as camera, opened(opencv(camera.url, read_timeout_s=0.3)) as source:
        next_frame(source)
        camera.stall()
        with pytest.raises(SourceLost, match=r"has (sent no frame|stopped)"):
            list(play(source))


def test_a_stream_that_is_not_there_is_unavailable_and_its_password_stays_secret() -> None:
    program = (
        "from sources.opencv import OpenCV; from stream.protocols import ComponentContext\n"
        "url = 'rtsp://user:tea-time@127.0.0.1:9/x'\n"
        "try: OpenCV(OpenCV.Settings(url=url), ComponentContext('cam0')).open()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("SourceUnavailable rtsp://user:***@127.0.0.1:9/x could not be opened")
    assert done.stderr == ""


def test_passwords_and_tokens_are_masked_in_urls() -> None:
    assert masked("rtsp://user:p@ss:w/rd@host:554/live") == "rtsp://user:***@host:554/live"
    assert masked("rtsp://:secret@host/live") == "rtsp://:***@host/live"
    assert masked("http://host:80/video?user=me&password=tea&fps=5") == (
        "http://host:80/video?user=me&password=***&fps=5"
    )
    assert masked("http://host:80/video?apiToken=tea") == "http://host:80/video?apiToken=***"
    assert masked("rtsp://host:554/live") == "rtsp://host:554/live"
    assert masked("video.mp4") == "video.mp4"


def test_ffmpeg_options_are_set_for_streams_only_while_they_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "before")
    with MotionJPEG() as camera, opened(opencv(camera.url)) as source:
        next_frame(source)
        probe = "import os; print(os.environ['OPENCV_FFMPEG_CAPTURE_OPTIONS'])"
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        assert done.stdout == "before\n"


def test_a_stream_is_opened_with_its_timeouts_and_without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    monkeypatch.delenv(variable, raising=False)
    opened: list[object] = []

    class Closed:
        def __init__(self, *arguments: object) -> None:
            opened.extend([*arguments, os.environ.get(variable)])

        def isOpened(self) -> bool:  # noqa: N802
            return False

    cv2 = SimpleNamespace(
        VideoCapture=Closed,
        CAP_FFMPEG="ffmpeg",
        CAP_PROP_OPEN_TIMEOUT_MSEC="open",
        CAP_PROP_READ_TIMEOUT_MSEC="read",
        CAP_PROP_N_THREADS="threads",
    )
    monkeypatch.setattr(capture, "load_cv2", lambda: cv2)
    with pytest.raises(SourceUnavailable, match=r"rtsp://cam/1 could not be opened"):
        opencv("rtsp://cam/1", open_timeout_s=3.0, read_timeout_s=1.5).open()
    params = ["open", 3000, "read", 1500, "threads", 1]
    assert opened == ["rtsp://cam/1", "ffmpeg", params, "rtsp_transport;tcp|fflags;nobuffer"]
    assert variable not in os.environ


def test_captures_with_the_same_options_open_side_by_side_and_others_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPTIONS", "before")
    shared = _Shared("OPTIONS")
    seen, entered = [], threading.Event()

    def other() -> None:
        entered.set()
        with shared.set(None):
            seen.append(os.environ.get("OPTIONS"))

    thread = threading.Thread(target=other, daemon=True)
    with shared.set("a;1"):
        with shared.set("a;1"):
            thread.start()
            entered.wait()
            assert os.environ["OPTIONS"] == "a;1"
        assert seen == []
    thread.join()
    assert seen == [None]
    assert os.environ["OPTIONS"] == "before"


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    source = opencv(film(tmp_path / "video.mp4", 1))
    with opened(source):
        pass
    source.close()
    with MotionJPEG() as camera:
        stream = opencv(camera.url)
        with opened(stream):
            pass
        stream.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"url": -1}, "url: expected a camera from 0, a device, a file or a URL, got -1"),
        ({"url": ""}, "url: expected a camera from 0, a device, a file or a URL, got ''"),
        ({"width": 0}, "width: expected a number above 0, got 0"),
        ({"read_timeout_s": -1.0}, "read_timeout_s: expected a number above 0, got -1.0"),
        ({"fourcc": "MJPEG"}, "fourcc: expected four letters such as MJPG, got 'MJPEG'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        OpenCV.Settings(**settings)  # type: ignore[arg-type]
    assert str(error.value) == sentence
