"""Where a recording sink writes: the file's ending, {time} in its name, and why it cannot be written."""

import time
from pathlib import Path

from stream.errors import ConfigError
from stream.protocols import ComponentContext


def check_ending(path: str, ending: str) -> None:
    if not path.endswith(ending):
        raise ConfigError(f"path: expected a file ending in {ending}, got {path!r}")


def recording_path(text: str, context: ComponentContext) -> Path:
    seconds = context.clock.unix_ns() // 10**9
    path = Path(text.replace("{time}", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds)))).expanduser()
    if not path.parent.is_dir():
        raise ConfigError(f"{context.name}.path: the folder {path.parent} does not exist; make it first")
    return path


def cannot_write(path: Path, error: Exception) -> ConfigError:
    # Trying again would replace what is already recorded, so this ends the recording.
    return ConfigError(f"{path}: cannot be written: {error}; make room or choose another place")
