"""Every error poselift raises on purpose, and what of a URL may stand in one.

    PoseliftError
    +-- ConfigError          a person must edit something; the command exits with 2
    +-- SourceUnavailable    a source could not be opened; retried with backoff
    +-- SourceLost           an open source went away; retried with backoff
    +-- EndOfStream          a source is finished; a clean stop
    +-- CheckpointError      weights that do not fit the architecture; stop
    +-- ShapeError           an array of the wrong shape, type or content; stop
    +-- SinkUnavailable      a sink could not be reached; retried, the others go on
    +-- EncodeError          a message that cannot be written
    +-- DecodeError          bytes that are not a message of ours

The class tells the supervisor what to do; the message tells a person what was
expected, what came and what to try.
"""

import re


class PoseliftError(Exception):
    """Root of all errors raised on purpose."""


class ConfigError(PoseliftError):
    """A person must edit a config, an argument or a file."""


class SourceUnavailable(PoseliftError):
    """A source could not be opened now; opening it later may work."""


class SourceLost(PoseliftError):
    """A source that was open went away; opening it again may work."""


class EndOfStream(PoseliftError):
    """A source has delivered everything it has."""


class CheckpointError(PoseliftError):
    """Weights do not fit the architecture or the file is not what it claims to be."""


class ShapeError(PoseliftError):
    """An array has the wrong shape, dtype or content."""


class SinkUnavailable(PoseliftError):
    """A sink could not be reached now; reaching it later may work."""


class EncodeError(PoseliftError):
    """A message cannot be written to the wire."""


class DecodeError(PoseliftError):
    """Bytes from the wire are not a valid message."""


def masked(url: str) -> str:
    """`url` as it may be shown: without its password, and without what its query calls a secret."""
    url = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:pass|pwd|token|key|secret|auth)[^=&]*=)[^&#]*", r"\1***", url)
