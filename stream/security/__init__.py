"""Security of network connections: CURVE keys for ZeroMQ; password and TLS for MQTT; private files."""

from stream.security.broker import (
    BrokerSettings,
    ignore_closed_sockets,
    password,
    tls_context,
    warn_of_clear_password,
    with_hint,
)
from stream.security.curve import (
    BindingSettings,
    ClientKeys,
    ServerKeys,
    client_keys,
    make_keys,
    require_encryption,
)
from stream.security.files import is_loopback, require_private

__all__ = [
    "BindingSettings",
    "BrokerSettings",
    "ClientKeys",
    "ServerKeys",
    "client_keys",
    "ignore_closed_sockets",
    "is_loopback",
    "make_keys",
    "password",
    "require_encryption",
    "require_private",
    "tls_context",
    "warn_of_clear_password",
    "with_hint",
]
