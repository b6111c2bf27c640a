import logging
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sources.images import ImageFolder
from stream.clock import FakeClock
from stream.errors import ConfigError, EndOfStream
from stream.messages import Frame
from stream.protocols import ComponentContext, opened
from tests.sources.media import HEIGHT, WIDTH, number_of, numbered_image, read_all


def save_images(folder: Path, *names: str) -> None:
    """Save images numbered from 0 under `names`."""
    for number, name in enumerate(names):
        Image.fromarray(numbered_image(number)).save(folder / name)


def frames_of(source: ImageFolder) -> list[Frame]:
    frames: list[Frame] = []
    with opened(source), pytest.raises(EndOfStream):
        frames.extend(read_all(source))
    return frames


def image_folder(folder: Path, context: ComponentContext | None = None, **settings: object) -> ImageFolder:
    settings = {"path": str(folder), "pace": "full", **settings}
    return ImageFolder(ImageFolder.Settings(**settings), context or ComponentContext("cam0"))  # type: ignore[arg-type]


def test_images_are_read_in_the_order_of_the_numbers_in_their_names(tmp_path: Path) -> None:
    save_images(tmp_path, "shot1.png", "shot2.jpg", "shot9.bmp", "Shot10.JPEG", "shot100.png")
    (tmp_path / "notes.txt").write_text("not an image")
    assert [number_of(frame.image) for frame in frames_of(image_folder(tmp_path))] == [0, 1, 2, 3, 4]


def test_images_are_rgb_and_timed_by_the_frame_rate(tmp_path: Path) -> None:
    save_images(tmp_path, "1.png", "2.png", "3.png")
    clock = FakeClock()
    start_ns, start_unix_ns = clock.now_ns(), clock.unix_ns()
    frames = frames_of(image_folder(tmp_path, ComponentContext("cam0", clock=clock), fps=50.0))
    np.testing.assert_array_equal(frames[2].image, numbered_image(2))
    times = [(frame.header.source, frame.header.seq, frame.header.captured_ns - start_ns) for frame in frames]
    assert times == [("cam0", 0, 0), ("cam0", 1, 20_000_000), ("cam0", 2, 40_000_000)]
    assert [frame.header.captured_unix_ns - start_unix_ns for frame in frames] == [0, 20_000_000, 40_000_000]


def test_at_recorded_pace_an_image_is_read_at_its_time(tmp_path: Path) -> None:
    save_images(tmp_path, "1.png", "2.png")
    source = image_folder(tmp_path, ComponentContext("cam0", clock=FakeClock()), fps=10.0, pace="recorded")
    with opened(source):
        frames = [source.read(0.06) for _ in range(3)]
        assert [frame and frame.header.seq for frame in frames] == [0, None, 1]
        with pytest.raises(EndOfStream, match="all images were read"):
            source.read(0.06)


def test_an_image_is_rotated_upright_according_to_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate clockwise to show
    Image.fromarray(numbered_image(0)).save(tmp_path / "1.jpg", exif=exif, quality=95, subsampling=0)
    (frame,) = frames_of(image_folder(tmp_path))
    assert frame.size_wh == (HEIGHT, WIDTH)
    np.testing.assert_allclose(frame.image, np.rot90(numbered_image(0), -1), atol=60)


def test_an_unreadable_image_is_logged_and_counted_and_leaves_a_gap_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_images(tmp_path, "1.png", "2.png", "3.png", "4.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    (tmp_path / "3.png").write_bytes(b"")
    context = ComponentContext("cam0")
    with caplog.at_level(logging.WARNING):
        frames = frames_of(image_folder(tmp_path, context))
    assert [(frame.header.seq, number_of(frame.image)) for frame in frames] == [(0, 0), (3, 3)]
    assert frames[1].header.captured_ns - frames[0].header.captured_ns == 120_000_000
    assert context.health.counter("cam0", "drop.unreadable") == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"cam0: skipped {tmp_path}/{name}, which is not a readable image" for name in ("2.png", "3.png")
    ]


def test_a_folder_without_a_readable_image_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"contains no image \(\.jpg, "):
        image_folder(tmp_path).open()
    (tmp_path / "1.png").write_bytes(b"not an image")
    with (
        opened(image_folder(tmp_path)) as source,
        pytest.raises(ConfigError, match=r"none of the 1 images in .* is readable"),
    ):
        source.read(1.0)
    with pytest.raises(ConfigError, match=r"expected a folder of images, got .*/none, which is not a folder"):
        image_folder(tmp_path / "none").open()


def test_a_frame_rate_of_zero_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="fps: expected images per second above 0, got 0"):
        ImageFolder.Settings(path="x", fps=0.0)


def test_a_folder_can_be_read_again_and_closed_twice(tmp_path: Path) -> None:
    save_images(tmp_path, "1.png", "2.png")
    source = image_folder(tmp_path)
    assert len(frames_of(source)) == len(frames_of(source)) == 2
    source.close()


def test_a_small_file_that_unpacks_to_gigabytes_is_skipped(tmp_path: Path):
    """In a process of its own, since OpenCV reads its limit once."""
    side_px = 13_000
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(bytes((1 + side_px // 8) * side_px), 9)), (b"IEND", b"")]
    lines = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(lines))
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    program = (
        "from stream.cameras.opencv import load_cv2; import sys\n"
        "try: print(load_cv2().imread(sys.argv[1]) is None)\n"
        "except Exception: print(True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "bomb.png")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "True\n"
