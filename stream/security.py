"""Security of network connections: passwords and TLS of MQTT brokers, and which hosts are local."""

import ipaddress
import logging
import os
import ssl

from stream.errors import ConfigError

log = logging.getLogger("poselift")


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine itself and not reachable from the network."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def password(username: str | None, variable: str) -> str | None:
    """The password of `username` from an environment variable; None when the broker needs no user name."""
    if username is None:
        return None
    if variable not in os.environ:
        raise ConfigError(
            f"mqtt: expected the password of {username!r} in the environment variable {variable}, "
            "which is not set"
        )
    return os.environ[variable]


def tls_context(tls: bool, ca_file: str | None) -> ssl.SSLContext | None:
    """TLS settings of a connection, or None without `tls`.

    Certificates must be signed by the authority in `ca_file`, or by one that the system trusts.
    """
    if not tls:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt ca_file: {ca_file} cannot be read: {error}") from None


def warn_of_clear_password(component: str, broker_url: str, host: str) -> None:
    """Log a warning when a password is going to leave this machine unencrypted."""
    if not is_loopback(host):
        log.warning("%s: the password for %s travels unencrypted; set tls", component, broker_url)


def with_hint(error: Exception, variable: str) -> str:
    """Text of a connection error; when the broker refused the login, with a hint at what to check."""
    text = str(error) or type(error).__name__
    refused = "authori" in text or "password" in text
    return f"{text}; check username and {variable}" if refused else text
