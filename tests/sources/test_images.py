import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sources.images import Images
from stream.clock import FakeClock
from stream.errors import ConfigError, EndOfStream
from stream.messages import Frame
from stream.protocols import ComponentContext, opened
from tests.sources.media import HEIGHT, WIDTH, number_of, picture, play


def save(folder: Path, *names: str) -> None:
    """Numbered pictures under `names`."""
    for number, name in enumerate(names):
        Image.fromarray(picture(number)).save(folder / name)


def frames_of(source: Images) -> list[Frame]:
    frames: list[Frame] = []
    with opened(source), pytest.raises(EndOfStream):
        frames.extend(play(source))
    return frames


def images(folder: Path, context: ComponentContext | None = None, **settings: object) -> Images:
    settings = {"path": str(folder), "pace": "full", **settings}
    return Images(Images.Settings(**settings), context or ComponentContext("cam0"))  # type: ignore[arg-type]


def test_images_come_in_the_order_a_person_reads_numbers(tmp_path: Path) -> None:
    save(tmp_path, "shot1.png", "shot2.jpg", "shot9.bmp", "Shot10.JPEG", "shot100.png")
    (tmp_path / "notes.txt").write_text("not an image")
    assert [number_of(frame.image) for frame in frames_of(images(tmp_path))] == [0, 1, 2, 3, 4]


def test_images_are_rgb_and_timed_by_the_frame_rate(tmp_path: Path) -> None:
    save(tmp_path, "1.png", "2.png", "3.png")
    clock = FakeClock()
    start_ns, start_unix_ns = clock.now_ns(), clock.unix_ns()
    frames = frames_of(images(tmp_path, ComponentContext("cam0", clock=clock), fps=50.0))
    np.testing.assert_array_equal(frames[2].image, picture(2))
    times = [(frame.header.source, frame.header.seq, frame.header.captured_ns - start_ns) for frame in frames]
    assert times == [("cam0", 0, 0), ("cam0", 1, 20_000_000), ("cam0", 2, 40_000_000)]
    assert [frame.header.captured_unix_ns - start_unix_ns for frame in frames] == [0, 20_000_000, 40_000_000]


def test_at_recorded_pace_an_image_comes_when_its_time_has_come(tmp_path: Path) -> None:
    save(tmp_path, "1.png", "2.png")
    source = images(tmp_path, ComponentContext("cam0", clock=FakeClock()), fps=10.0, pace="recorded")
    with opened(source):
        came = [source.read(0.06) for _ in range(3)]
        assert [frame and frame.header.seq for frame in came] == [0, None, 1]
        with pytest.raises(EndOfStream, match=r"all images in .* are read"):
            source.read(0.06)


def test_a_photo_taken_with_the_camera_on_its_side_comes_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn it clockwise
    Image.fromarray(picture(0)).save(tmp_path / "1.jpg", exif=exif, quality=95, subsampling=0)
    (frame,) = frames_of(images(tmp_path))
    assert frame.size_wh == (HEIGHT, WIDTH)
    np.testing.assert_allclose(frame.image, np.rot90(picture(0), -1), atol=60)


def test_a_broken_image_is_named_counted_and_leaves_its_time_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, "1.png", "2.png", "3.png", "4.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    (tmp_path / "3.png").write_bytes(b"")
    context = ComponentContext("cam0")
    with caplog.at_level(logging.WARNING):
        frames = frames_of(images(tmp_path, context))
    assert [(frame.header.seq, number_of(frame.image)) for frame in frames] == [(0, 0), (3, 3)]
    assert frames[1].header.captured_ns - frames[0].header.captured_ns == 120_000_000
    assert context.health.counter("cam0", "drop.unreadable") == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"cam0: {tmp_path}/{name} is left out: not an image that can be read" for name in ("2.png", "3.png")
    ]


def test_a_folder_without_one_good_image_is_for_a_person_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no image \(\.jpg, "):
        images(tmp_path).open()
    (tmp_path / "1.png").write_bytes(b"not an image")
    with (
        opened(images(tmp_path)) as source,
        pytest.raises(ConfigError, match=r"none of the 1 images in .* can be read"),
    ):
        source.read(1.0)
    with pytest.raises(ConfigError, match=r"expected a folder of images, got .*/none, which is none"):
        images(tmp_path / "none").open()


def test_a_frame_rate_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="fps: expected images per second above 0, got 0"):
        Images.Settings(path="x", fps=0.0)


def test_a_folder_can_be_read_again_and_closed_twice(tmp_path: Path) -> None:
    save(tmp_path, "1.png", "2.png")
    source = images(tmp_path)
    assert len(frames_of(source)) == len(frames_of(source)) == 2
    source.close()
