"""Login at an MQTT broker: password, TLS, client certificate.

The password comes from the environment or a private file, so that no config contains it. TLS encrypts and
checks the broker's certificate; with a client certificate the broker can check who connects.
"""

import errno
import logging
import os
from typing import TYPE_CHECKING, Any

import msgspec

from stream.errors import ConfigError
from stream.security.files import is_loopback, require_private

if TYPE_CHECKING:
    import asyncio
    import ssl

log = logging.getLogger("poselift")


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Address and login of an MQTT broker.

    host: Host name or address of the broker.

    port: TCP port of the broker; 8883 is usual with TLS.

    username: User name at the broker; null connects without one.

    password_env: Environment variable that holds the password.

    password_file: File that holds the password, readable by its owner alone; null takes `password_env`.

    tls: Encrypt the connection and verify the broker's certificate.

    ca_file: PEM file of the authority that signed the broker's certificate; null trusts the system's
    authorities.

    cert_file: PEM file of this client's certificate, for a broker that asks for one; needs `tls` and
    `key_file`.

    key_file: PEM file of the key of `cert_file`, without a passphrase, readable by its owner alone.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password_env: str = "POSELIFT_MQTT_PASSWORD"
    password_file: str | None = None
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ConfigError(f"mqtt port: expected 1 to 65535, got {self.port}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ConfigError("mqtt: a client certificate needs both cert_file and key_file; set both")
        if not self.tls and (self.cert_file or self.ca_file):
            raise ConfigError("mqtt: ca_file and cert_file are used with TLS only; set tls: true")


def password(settings: BrokerSettings) -> str | None:
    """The password of `settings.username` from the file or the environment; None without a username."""
    if settings.username is None:
        return None
    if settings.password_file is not None:
        path = require_private(settings.password_file, "mqtt password_file")
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    if settings.password_env not in os.environ:
        raise ConfigError(
            f"mqtt: expected the password of {settings.username!r} in the environment variable "
            f"{settings.password_env}, which is not set"
        )
    return os.environ[settings.password_env]


def tls_context(settings: BrokerSettings) -> "ssl.SSLContext | None":
    """A context that checks the broker's certificate and presents the client's; None without tls."""
    import ssl

    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt ca_file: {settings.ca_file} cannot be read: {error}") from None
    if settings.cert_file and settings.key_file:
        key = require_private(settings.key_file, "mqtt key_file")
        try:  # An empty passphrase, because OpenSSL would ask for one at the terminal.
            context.load_cert_chain(settings.cert_file, key, password="")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"mqtt cert_file: {settings.cert_file} and {key} are no certificate with its key: {error}"
            ) from None
    return context


def warn_of_clear_password(component: str, url: str, host: str) -> None:
    """Log that a password is sent unencrypted, unless the broker is on this machine."""
    if not is_loopback(host):
        log.warning("%s: the password for %s travels unencrypted; set tls", component, url)


def with_hint(error: Exception, variable: str) -> str:
    """The text of the error; after a refused login with a hint to check the username and `variable`."""
    text = str(error) or type(error).__name__
    refused = "authori" in text or "password" in text
    return f"{text}; check username and {variable}" if refused else text


def ignore_closed_sockets(loop: "asyncio.AbstractEventLoop", context: dict[str, Any]) -> None:
    """An exception handler for event loops with aiomqtt, which may watch a socket that has just been closed.

    That happens whenever a broker ends at the wrong moment, and has no consequence.
    """
    error = context.get("exception")
    if not isinstance(error, OSError) or error.errno != errno.EBADF:
        loop.default_exception_handler(context)
