import numpy as np
import pytest

from sources.opencv.motion_jpeg import jpeg_size_wh
from stream.messages import U8
from tests.sources.media import jpeg, numbered_image


def as_array(data: bytes) -> U8:
    return np.frombuffer(data, np.uint8)


def test_the_size_of_a_jpeg_is_read_from_its_header() -> None:
    assert jpeg_size_wh(as_array(jpeg(numbered_image(3)))) == (160, 120)


def test_segments_and_fill_bytes_before_the_size_are_skipped() -> None:
    data = jpeg(numbered_image(3))
    comment = b"\xff\xfe\x00\x04\xff\xc0"
    assert jpeg_size_wh(as_array(data[:2] + comment + b"\xff" + data[2:])) == (160, 120)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8" + bytes(40), b"GIF89a" + bytes(40)])
def test_other_bytes_have_no_size(data: bytes) -> None:
    assert jpeg_size_wh(as_array(data)) is None


def test_a_cut_jpeg_has_a_size_or_none() -> None:
    data = jpeg(numbered_image(3))
    sizes = {jpeg_size_wh(as_array(data[:length])) for length in range(len(data))}
    assert sizes == {None, (160, 120)}
