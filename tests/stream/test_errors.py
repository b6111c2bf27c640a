import pytest

from stream import errors
from stream.errors import masked


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:tea@192.0.2.1/stream", "rtsp://admin:***@192.0.2.1/stream"),
        ("rtsp://admin:t@e:a@192.0.2.1/stream", "rtsp://admin:***@192.0.2.1/stream"),
        ("http://cam/video?user=a&password=tea&size=2", "http://cam/video?user=a&password=***&size=2"),
        ("http://cam/video?api_key=tea#top", "http://cam/video?api_key=***#top"),
        ("rtsp://192.0.2.1:554/stream", "rtsp://192.0.2.1:554/stream"),
    ],
)
def test_a_shown_url_contains_no_secret(url, shown):
    assert masked(url) == shown


def test_all_errors_have_one_root_and_stand_in_its_tree():
    classes = {name for name, item in vars(errors).items() if isinstance(item, type)} - {"PoseliftError"}
    assert {name for name in classes if not issubclass(getattr(errors, name), errors.PoseliftError)} == set()
    assert {name for name in classes if f"+-- {name}" not in (errors.__doc__ or "")} == set()
