"""What has to be known to enter an MQTT broker: a password, whom to trust, and why one was refused."""

import logging
import os
import ssl

from stream.errors import ConfigError

log = logging.getLogger("poselift")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def password(username: str | None, variable: str) -> str | None:
    """The password of `username` from an environment variable; None for a broker that asks for no user."""
    if username is None:
        return None
    if variable not in os.environ:
        raise ConfigError(
            f"mqtt: expected the password of {username!r} in the environment variable {variable}, "
            "which is not set"
        )
    return os.environ[variable]


def tls_context(tls: bool, ca_file: str | None) -> ssl.SSLContext | None:
    """Whose certificates are accepted: of the authority in `ca_file`, or those the system knows."""
    if not tls:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt ca_file: {ca_file} cannot be read: {error}") from None


def warn_of_clear_password(who: str, where: str, host: str) -> None:
    """Say that a password will travel unencrypted, unless it stays on this machine."""
    if host not in _LOOPBACK:
        log.warning("%s: the password for %s travels unencrypted; set tls", who, where)


def with_hint(error: Exception, variable: str) -> str:
    """The error, and what to look at when the broker refused us."""
    said = str(error) or type(error).__name__
    refused = "authori" in said or "password" in said
    return f"{said}; check username and {variable}" if refused else said
