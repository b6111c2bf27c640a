"""Paths of recordings: check the suffix, fill in {time}, explain why a file cannot be written."""

import time
from pathlib import Path

from stream.errors import ConfigError
from stream.protocols import ComponentContext


def check_suffix(path: str, suffix: str) -> None:
    """Raise ConfigError unless `path` ends in `suffix`."""
    if not path.endswith(suffix):
        raise ConfigError(f"path: expected a file ending in {suffix}, got {path!r}")


def recording_path(text: str, context: ComponentContext) -> Path:
    """`text` with ~ and {time} (UTC, now) filled in; ConfigError unless its folder exists."""
    seconds = context.clock.unix_ns() // 10**9
    path = Path(text.replace("{time}", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds)))).expanduser()
    if not path.parent.is_dir():
        raise ConfigError(f"{context.name}.path: the folder {path.parent} does not exist; make it first")
    return path


def write_error(path: Path, error: Exception) -> ConfigError:
    """The error to raise when `path` cannot be written.

    It is a ConfigError, which ends the recording: opening the file again would replace what was recorded.
    """
    return ConfigError(f"{path}: cannot be written: {error}; make room or choose another place")
