"""Access rules of the viewer's server: the Host and Origin headers, and the token.

Any web page that a person opens may send requests to servers on that person's machine. The Host header must
therefore name this server by its address, which a hostile DNS name cannot do, and a socket's Origin must be
this server's own page. Other machines need the token as well.
"""

import base64
import binascii
import hmac
import ipaddress
import os
import re
import socket
from collections.abc import Sequence

from stream.errors import ConfigError

SUBPROTOCOL = "poselift.v1"
# A browser cannot set headers on a socket, so its token travels as a second subprotocol, base64url-encoded.
TOKEN_PREFIX = "token."
MIN_TOKEN_LENGTH = 8


def resolve_token(token: str | None) -> str | None:
    """The token, read from the environment when it is written as ${NAME}; ConfigError when it is unusable."""
    if token is None:
        return None
    if name := re.fullmatch(r"\$\{(\w+)\}", token):
        if name[1] not in os.environ:
            raise ConfigError(f"browser token: the environment variable {name[1]} is not set")
        token = os.environ[name[1]]
    if len(token) < MIN_TOKEN_LENGTH:
        raise ConfigError(f"browser token: expected at least {MIN_TOKEN_LENGTH} characters, got {len(token)}")
    return token


class AccessRules:
    """Decides which requests to one server are admitted."""

    def __init__(self, token: str | None, hosts: Sequence[str] = ()) -> None:
        """token: resolved, None to admit requests without one; hosts: further names of this machine."""
        self._token = token
        name = socket.gethostname().lower()
        self._hosts = {"localhost", name, f"{name}.local", *(host.lower() for host in hosts)}

    def allows_host(self, host: str) -> bool:
        """Whether a Host header names this server: by an IP address, or by a name of this machine."""
        name = _without_port(host).lower()
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name in self._hosts
        return True

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether an Origin header is that of the page which the server named by the Host header serves."""
        return bool(host) and origin in (f"http://{host}", f"https://{host}")

    def allows_token(self, offered: str | None) -> bool:
        """Whether the offered token is right; always True for a server without a token."""
        if self._token is None:
            return True
        return offered is not None and hmac.compare_digest(offered.encode(), self._token.encode())


def bearer_token(authorization: str) -> str | None:
    """The token in an Authorization header; None without one."""
    scheme, _, value = authorization.partition(" ")
    return _decoded(value.strip()) if scheme.lower() == "bearer" else None


def subprotocol_token(header: str) -> str | None:
    """The token in a Sec-WebSocket-Protocol header; None without one."""
    for word in header.split(","):
        if word.strip().startswith(TOKEN_PREFIX):
            return _decoded(word.strip().removeprefix(TOKEN_PREFIX))
    return None


def _decoded(text: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return None


def _without_port(host: str) -> str:
    return re.sub(r":\d+$", "", host)
