"""Topics: the name under which each message is published."""

import re
from functools import lru_cache

from stream.errors import ConfigError
from stream.messages import KeypointFrame, Message, Meta, PoseFrame, Status
from stream.wire.schema import NAME, VERSION, Kind


@lru_cache(maxsize=1024)  # a few microseconds of every message
def topic(kind: Kind, name: str | None = None) -> bytes:
    """Topic of one source's or node's messages; without a name the prefix of all topics of that kind.

    Topics end with "/" because subscribers match prefixes: `cam1` would match `cam10`. ConfigError for a
    name that contains separators, wildcards or control characters.
    """
    if name is None:
        return f"{kind}/v{VERSION}/".encode()
    if not re.match(NAME, name):
        raise ConfigError(
            f"name {name[:40]!r}: expected 1 to 200 characters without '/', '+', '#' and control characters, "
            "because names become topics; choose another name"
        )
    return f"{kind}/v{VERSION}/{name}/".encode()


def topic_of(message: Message | KeypointFrame) -> bytes:
    """The topic a message is published under."""
    match message:
        case PoseFrame():
            return topic("pose3d", message.header.source)
        case KeypointFrame():
            return topic("keypoints2d", message.header.source)
        case Meta():
            return topic("meta", message.source)
        case Status():
            return topic("status", message.node)
