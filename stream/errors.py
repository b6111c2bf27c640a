"""Errors that poselift raises on purpose, and URLs without their secrets.

    PoseliftError
    +-- ConfigError          a person must edit something; the command exits with 2
    +-- SourceUnavailable    a source could not be opened; retried with backoff
    +-- SourceLost           an open source stopped delivering; retried with backoff
    +-- EndOfStream          a source is finished; a regular stop
    +-- CheckpointError      weights do not fit the architecture; stop
    +-- ShapeError           an array of the wrong shape, type or content; stop
    +-- LifterUnavailable    no lifter could be reached now; the frames wait for the next try
    +-- SinkUnavailable      a sink could not be reached; retried while the other sinks run
    |   +-- AddressInUse     another program has its address; a stop when it keeps it while the node starts
    +-- EncodeError          a message cannot be encoded; dropped and counted
    +-- DecodeError          bytes are not a valid message; dropped and counted

The class decides how the supervisor reacts; the text explains to a person what was expected, what was
received and what to try.
"""

import re


class PoseliftError(Exception):
    """Root of all errors raised on purpose."""


class ConfigError(PoseliftError):
    """A person must edit a config, an argument or a file."""


class SourceUnavailable(PoseliftError):
    """A source could not be opened now; opening it later may work."""


class SourceLost(PoseliftError):
    """An open source stopped delivering; opening it again may work."""


class EndOfStream(PoseliftError):
    """A source has delivered its last frame."""


class CheckpointError(PoseliftError):
    """Weights do not fit the architecture, or the file fails its checks."""


class ShapeError(PoseliftError):
    """An array has the wrong shape, dtype or content."""


class LifterUnavailable(PoseliftError):
    """No lifter could be reached now; lifting the same windows later may work."""


class SinkUnavailable(PoseliftError):
    """A sink could not be reached now; reaching it later may work."""


class AddressInUse(SinkUnavailable, SourceUnavailable):
    """Another program has the address of a sink or a source."""


class EncodeError(PoseliftError):
    """A message cannot be encoded for the wire."""


class DecodeError(PoseliftError):
    """Bytes from the wire are not a valid message."""


def masked(url: str) -> str:
    """`url` with its password and the secrets in its query replaced by ***, so that it can be shown."""
    url = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:pass|pwd|token|key|secret|auth)[^=&]*=)[^&#]*", r"\1***", url)
