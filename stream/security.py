"""Security of network connections: CURVE keys for ZeroMQ; password and TLS for MQTT.

ZeroMQ: CURVE encrypts everything and authenticates both sides. Every side has a certificate of two files:
`python -c "import zmq.auth; zmq.auth.create_certificates('keys', 'robot')"` writes keys/robot.key (public)
and keys/robot.key_secret.

MQTT: the password comes from the environment, so that no config contains it; TLS encrypts and checks the
broker's certificate.
"""

import ipaddress
import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stream.errors import ConfigError

if TYPE_CHECKING:
    import ssl

    import zmq

log = logging.getLogger("poselift")


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an IP address, is reachable from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


# ZeroMQ


class ClientKeys:
    """CURVE keys of a connecting side: its own secret certificate and the public one of the server."""

    def __init__(self, secret_file: str | Path, server_public_file: str | Path) -> None:
        """Load both files; ConfigError when one cannot be read or holds the wrong key."""
        self._public, self._secret = _load_secret(secret_file)
        self._server, _ = _load(server_public_file)

    def apply(self, socket: "zmq.Socket[bytes]") -> None:
        """Encrypt what the socket exchanges with the server; call it before connecting."""
        import zmq

        socket.set(zmq.CURVE_PUBLICKEY, self._public)
        socket.set(zmq.CURVE_SECRETKEY, self._secret)
        socket.set(zmq.CURVE_SERVERKEY, self._server)


class ServerKeys:
    """CURVE keys of a binding side: its secret certificate and the public keys of the clients it admits."""

    def __init__(self, secret_file: str | Path, clients_folder: str | Path) -> None:
        """Load the certificate and check the folder of .key files; ConfigError when either is of no use."""
        import zmq.auth

        self._public, self._secret = _load_secret(secret_file)
        self._clients_folder = Path(clients_folder).expanduser()
        try:
            clients = zmq.auth.load_certificates(self._clients_folder)
        except (OSError, ValueError) as error:
            raise _key_error(error) from error
        if not clients:
            raise ConfigError(f"CURVE keys: no .key file in {clients_folder}, so no client could connect")

    def apply(self, socket: "zmq.Socket[bytes]", resources: ExitStack) -> None:
        """Encrypt, and admit the listed clients alone; call it before binding.

        Starts the ZAP handler's thread, which `resources` stops. Without that handler CURVE would encrypt
        but admit every client.
        """
        import zmq
        from zmq.auth.thread import ThreadAuthenticator

        authenticator = ThreadAuthenticator(socket.context)
        authenticator.start()
        authenticator.thread.name = "zeromq authenticator"
        resources.callback(authenticator.stop)
        authenticator.configure_curve(domain="*", location=self._clients_folder)
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_PUBLICKEY, self._public)
        socket.set(zmq.CURVE_SECRETKEY, self._secret)


def _load_secret(file: str | Path) -> tuple[bytes, bytes]:
    """Public and secret key of a .key_secret file."""
    public, secret = _load(file)
    if secret is None:
        raise ConfigError(f"CURVE keys: {file} holds no secret key; name the .key_secret file")
    return public, secret


def _load(file: str | Path) -> tuple[bytes, bytes | None]:
    import zmq.auth

    try:
        return zmq.auth.load_certificate(Path(file).expanduser())
    except (OSError, ValueError) as error:
        raise _key_error(error) from error


def _key_error(error: Exception) -> ConfigError:
    return ConfigError(f"CURVE keys: {error}; zmq.auth.create_certificates makes such files")


# MQTT


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of an MQTT component's settings that describes the broker.

    host, port: of the broker. username: null if the broker needs none. password_env: the environment variable
    that holds the password. tls: encrypt, and check the broker's certificate against the system's authorities
    or those in ca_file.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password_env: str = "POSELIFT_MQTT_PASSWORD"
    tls: bool = False
    ca_file: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ConfigError(f"mqtt port: expected 1 to 65535, got {self.port}")


def password(username: str | None, variable: str) -> str | None:
    """The password of `username` from the environment variable; None without a username."""
    if username is None:
        return None
    if variable not in os.environ:
        raise ConfigError(
            f"mqtt: expected the password of {username!r} in the environment variable {variable}, "
            "which is not set"
        )
    return os.environ[variable]


def tls_context(tls: bool, ca_file: str | None) -> "ssl.SSLContext | None":
    """A context that checks certificates against `ca_file`, or the system's authorities; None without tls."""
    import ssl

    if not tls:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt ca_file: {ca_file} cannot be read: {error}") from None


def warn_of_clear_password(component: str, url: str, host: str) -> None:
    """Log that a password is sent unencrypted, unless the broker is on this machine."""
    if not is_loopback(host):
        log.warning("%s: the password for %s travels unencrypted; set tls", component, url)


def with_hint(error: Exception, variable: str) -> str:
    """The text of the error; after a refused login with a hint to check the username and `variable`."""
    text = str(error) or type(error).__name__
    refused = "authori" in text or "password" in text
    return f"{text}; check username and {variable}" if refused else text
