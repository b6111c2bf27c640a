import dataclasses
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sources.opencv import OpenCV
from stream.clock import Clock, FakeClock, SystemClock
from stream.errors import ConfigError, EndOfStream, SourceLost, SourceUnavailable
from stream.health import Health
from stream.messages import U8, Frame, Header
from stream.protocols import ComponentContext, opened
from tests.sources.media import HEIGHT, WIDTH, MotionJPEG, number_of, numbered_image, read_all, write_video

FULL: dict[str, Any] = {"pace": "full"}


def opencv(
    url: int | str | Path, clock: Clock | None = None, health: Health | None = None, **settings: object
) -> OpenCV:
    url = str(url) if isinstance(url, Path) else url
    context = ComponentContext("cam0", clock=clock or SystemClock(), health=health or Health())
    return OpenCV(OpenCV.Settings(url=url, **settings), context)  # type: ignore[arg-type]


def frames_of(source: OpenCV) -> list[Frame]:
    """All frames up to the end of the stream."""
    frames: list[Frame] = []
    with opened(source), pytest.raises(EndOfStream):
        frames.extend(read_all(source))
    return frames


def next_frame(source: OpenCV) -> Frame:
    return next(read_all(source))


# Files


def test_every_frame_of_a_file_comes_in_order_with_the_times_of_the_file(tmp_path: Path) -> None:
    clock = FakeClock()
    start = Header("cam0", 0, clock.now_ns(), clock.unix_ns())
    frames = frames_of(opencv(write_video(tmp_path / "video.mp4", 40), clock, **FULL))
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
    (frame,) = frames_of(opencv(write_video(tmp_path / "video.mp4", 1), **FULL))
    assert frame.size_wh == (WIDTH, HEIGHT)
    left, right = frame.image[HEIGHT // 4, WIDTH // 4], frame.image[HEIGHT // 4, 3 * WIDTH // 4]
    np.testing.assert_allclose(left, (255, 0, 0), atol=8)
    np.testing.assert_allclose(right, (0, 0, 255), atol=8)


def test_a_file_of_varying_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    slower = "settb=1/1000,setpts='if(lt(N,6),N*40,200+(N-5)*90)'"
    options = ["-vf", slower, "-fps_mode", "passthrough", "-enc_time_base", "1:1000"]
    video = write_video(tmp_path / "video.mkv", 12, *options)
    clock = FakeClock()
    start_ns = clock.now_ns()
    times_ms = [
        (frame.header.captured_ns - start_ns) / 1e6 for frame in frames_of(opencv(video, clock, **FULL))
    ]
    assert times_ms == [0, 40, 80, 120, 160, 200, 290, 380, 470, 560, 650, 740]


def test_frames_of_a_file_without_times_are_timed_by_its_frame_rate(tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.h264", 10, "-f", "h264")
    times = [frame.header.captured_ns for frame in frames_of(opencv(video, FakeClock(), **FULL))]
    assert np.diff(times).tolist() == [40_000_000] * 9


def test_at_recorded_pace_a_frame_is_read_at_its_time(tmp_path: Path) -> None:
    clock = FakeClock()
    start_ns = clock.now_ns()
    with opened(opencv(write_video(tmp_path / "video.mp4", 3), clock)) as source:
        rows = []
        for _ in range(5):
            frame = source.read(0.03)
            rows.append((frame and frame.header.seq, (clock.now_ns() - start_ns) / 1e6))
    assert rows == [(0, 0), (None, 30), (1, 40), (None, 70), (2, 80)]


def test_a_video_with_a_rotation_in_its_metadata_is_rotated_upright(tmp_path: Path) -> None:
    landscape = write_video(tmp_path / "landscape.mp4", 1, "-qp", "10")
    data = bytearray(landscape.read_bytes())
    matrix = data.index(b"tkhd") + 44  # the track's display matrix
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    portrait = tmp_path / "portrait.mp4"
    portrait.write_bytes(data)
    (frame,) = frames_of(opencv(portrait, **FULL))
    assert frame.size_wh == (HEIGHT, WIDTH)
    np.testing.assert_allclose(frame.image, np.rot90(numbered_image(0), -1), atol=60)
    shown = ["ffmpeg", "-v", "error", "-i", str(portrait), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    by_ffmpeg = np.frombuffer(subprocess.run(shown, capture_output=True, check=True).stdout, np.uint8)
    assert np.abs(frame.image.ravel().astype(int) - by_ffmpeg).mean() < 4


def test_a_truncated_file_is_logged_with_its_readable_duration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    complete = write_video(tmp_path / "complete.mkv", 100)
    assert len(frames_of(opencv(complete, **FULL))) == 100
    assert not caplog.text
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(complete.read_bytes()[: complete.stat().st_size // 2])
    read = len(frames_of(opencv(cut, **FULL)))
    assert 0 < read < 80
    assert f"cut.mkv is truncated: only {read / 25:.1f} s of 4.0 s are readable" in caplog.text


def test_a_file_under_dev_is_not_taken_for_a_camera() -> None:
    with pytest.raises(ConfigError, match=r"no such video file: /dev/shm/none.mp4"):
        opencv("/dev/shm/none.mp4")
    assert opencv("/dev/video0", **FULL).live


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"no such video file: {tmp_path}/none.mp4"):
        opencv(tmp_path / "none.mp4")


def test_a_file_that_is_not_a_video_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("not a video")
    with pytest.raises(ConfigError, match="is not a readable video"):
        opencv(tmp_path / "notes.mp4").open()
    with pytest.raises(ConfigError, match="expected a video file, got the folder"):
        opencv(tmp_path).open()


def test_a_file_is_live_only_at_recorded_pace(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").touch()
    assert opencv(tmp_path / "video.mp4").live
    assert not opencv(tmp_path / "video.mp4", **FULL).live


# Cameras and streams


def test_a_missing_camera_is_unavailable() -> None:
    for url in (63, "63", "/dev/video63"):
        source = opencv(url)
        assert source.live
        with pytest.raises(SourceUnavailable, match=r"camera .*63 could not be opened .* plugged in"):
            source.open()


def test_the_newest_frame_of_a_stream_is_read_and_the_others_are_counted_as_dropped() -> None:
    health = Health()
    with MotionJPEG() as camera, opened(opencv(camera.url, health=health)) as source:
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
        dropped = health.counter("cam0", "drop.newest_wins")
        assert len(read) + dropped == read[-1].header.seq + 1
        times = [frame.header.captured_ns for frame in read]
        assert times == sorted(set(times))


def test_a_stream_that_changes_its_resolution_keeps_the_shape_of_its_images() -> None:
    def image(number: int) -> U8:
        height, width = (120, 160) if number < 5 else (320, 240)
        return np.full((height, width, 3), (200, 100, 50), np.uint8)

    with MotionJPEG(image=image) as camera, opened(opencv(camera.url)) as source:
        sizes_wh = [next_frame(source).size_wh]
        while sizes_wh[-1] == (160, 120):
            sizes_wh.append(next_frame(source).size_wh)
        frame = next_frame(source)
    assert set(sizes_wh) == {(160, 120), (240, 320)}
    np.testing.assert_allclose(frame.image, image(5), atol=4)


def test_an_image_of_more_pixels_than_any_camera_has_is_not_decoded() -> None:
    health = Health()

    def image(number: int) -> U8:
        return np.zeros((5000, 5000, 3), np.uint8) if number == 3 else numbered_image(number)

    with MotionJPEG(image=image) as camera, opened(opencv(camera.url, health=health)) as source:
        frames = read_all(source)
        sizes_wh = {next(frames).size_wh for _ in range(3)}
        while health.counter("cam0", "drop.undecodable") == 0:
            sizes_wh.add(next(frames).size_wh)
        sizes_wh.add(next(frames).size_wh)
    assert sizes_wh == {(WIDTH, HEIGHT)}


def test_a_stream_whose_connection_breaks_is_lost() -> None:
    with MotionJPEG() as camera, opened(opencv(camera.url)) as source:
        next_frame(source)
        camera.kill()
        with pytest.raises(SourceLost, match=r"http://user:\*\*\*@127.0.0.1:\d+/video has stopped sending"):
            list(read_all(source))


def test_a_stream_without_frames_for_too_long_is_lost() -> None:
    with MotionJPEG() as camera, opened(opencv(camera.url, read_timeout_s=0.3)) as source:
        next_frame(source)
        camera.stall()
        with pytest.raises(SourceLost, match=r"has (sent no frame|stopped)"):
            list(read_all(source))


def test_a_missing_stream_is_unavailable_and_the_error_hides_its_password() -> None:
    program = (
        "from sources.opencv import OpenCV; from stream.protocols import ComponentContext\n"
        "url = 'rtsp://user:tea-time@127.0.0.1:9/x'\n"
        "try: OpenCV(OpenCV.Settings(url=url), ComponentContext('cam0')).open()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout.startswith("SourceUnavailable rtsp://user:***@127.0.0.1:9/x could not be opened")
    assert process.stderr == ""


def test_ffmpeg_options_are_set_for_streams_only_while_they_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "before")
    with MotionJPEG() as camera, opened(opencv(camera.url)) as source:
        next_frame(source)
        probe = "import os; print(os.environ['OPENCV_FFMPEG_CAPTURE_OPTIONS'])"
        process = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        assert process.stdout == "before\n"


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    source = opencv(write_video(tmp_path / "video.mp4", 1))
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
def test_an_invalid_setting_is_a_config_error(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        OpenCV.Settings(**settings)  # type: ignore[arg-type]
    assert str(error.value) == sentence
