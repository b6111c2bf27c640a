"""Which addresses only this machine reaches, and which files only their owner reads."""

import ipaddress
import os
import stat
from pathlib import Path

from stream.errors import ConfigError


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an IP address, is reachable from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def require_private(file: str | Path, setting: str) -> Path:
    """The path of a file with a secret, with ~ filled in.

    ConfigError when the file cannot be read, or when its group or other users may read or write it; the text
    begins with `setting`. Systems without such permissions are not checked.
    """
    path = Path(file).expanduser()
    try:
        mode = path.stat().st_mode
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"{setting}: other users can read or write {path} (mode {stat.S_IMODE(mode):04o}); "
            f"run: chmod 600 {path}"
        )
    return path
