import pytest

from stream.errors import ConfigError
from stream.wire.topics import topic, topic_of
from tests.stream.wire.documents import EXAMPLES


def test_a_topic_ends_with_a_slash_after_the_name():
    topics = [topic_of(message) for message in EXAMPLES.values()]
    assert topics == [b"pose3d/v1/cam0/", b"keypoints2d/v1/cam0/", b"meta/v1/cam0/", b"status/v1/poselift/"]
    assert (topic("pose3d", "cam0"), topic("pose3d")) == (b"pose3d/v1/cam0/", b"pose3d/v1/")


@pytest.mark.parametrize("name", ["", "a/b", "#", "a+", "a\n", "a\x00", "x" * 201, "\ud800"])
def test_a_name_that_cannot_be_a_topic_is_refused(name):
    with pytest.raises(ConfigError, match="because names become topics"):
        topic("pose3d", name)
