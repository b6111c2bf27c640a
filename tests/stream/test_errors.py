import pytest

from stream import errors
from stream.errors import masked


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:p@ss:w/rd@host:554/live", "rtsp://user:***@host:554/live"),
        ("rtsp://:secret@host/live", "rtsp://:***@host/live"),
        ("http://host/video?user=me&password=tea&fps=5", "http://host/video?user=me&password=***&fps=5"),
        ("http://host/video?apiToken=tea#top", "http://host/video?apiToken=***#top"),
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("video.mp4", "video.mp4"),
    ],
)
def test_passwords_and_tokens_are_masked_in_urls(url, shown):
    assert masked(url) == shown


def test_all_errors_have_one_root_and_stand_in_its_tree():
    classes = {name for name, item in vars(errors).items() if isinstance(item, type)} - {"PoseliftError"}
    assert {name for name in classes if not issubclass(getattr(errors, name), errors.PoseliftError)} == set()
    assert {name for name in classes if f"+-- {name}" not in (errors.__doc__ or "")} == set()
