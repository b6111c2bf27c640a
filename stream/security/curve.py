"""CURVE keys for ZeroMQ: encrypt everything and authenticate both sides.

Every side has a pair of files: NAME.key_secret holds both keys and stays on its machine, NAME.key holds the
public key and goes to the other side. `poselift keys FOLDER` makes them.
"""

import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stream.errors import ConfigError
from stream.security.files import is_loopback, require_private

if TYPE_CHECKING:
    import zmq

log = logging.getLogger("poselift")

_FILE = 'metadata\ncurve\n    public-key = "{public}"\n'
_KEY_BYTES = 32
_SECRET_LINE = '    secret-key = "{secret}"\n'


def make_keys(secret_file: Path, public_file: Path) -> None:
    """Write a new pair of keys: `secret_file` for its owner alone, and `public_file`.

    FileExistsError when one of the files exists; an existing key is never replaced.
    """
    import zmq

    public, secret = (key.decode() for key in zmq.curve_keypair())
    text = _FILE.format(public=public)
    _create(secret_file, text + _SECRET_LINE.format(secret=secret), 0o600)
    _create(public_file, text, 0o644)


def _create(file: Path, text: str, mode: int) -> None:
    """Write a new file that has its permissions before it has content."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)


class ClientKeys:
    """CURVE keys of a connecting side: its own secret key and the public key of the server."""

    def __init__(self, secret_file: str | Path, server_public_file: str | Path) -> None:
        """Load both files; ConfigError when one cannot be read, is not private or holds the wrong key."""
        self._public, self._secret = _load_secret(secret_file)
        self._server, _ = _load(server_public_file)

    def apply(self, socket: "zmq.Socket[bytes]") -> None:
        """Encrypt what the socket exchanges with the server; call it before connecting."""
        import zmq

        socket.set(zmq.CURVE_PUBLICKEY, self._public)
        socket.set(zmq.CURVE_SECRETKEY, self._secret)
        socket.set(zmq.CURVE_SERVERKEY, self._server)


def client_keys(secret_file: str | Path | None, server_file: str | Path | None) -> ClientKeys | None:
    """The keys of two files; None without files. ConfigError when only one of them is named."""
    if secret_file is None and server_file is None:
        return None
    if secret_file is None or server_file is None:
        raise ConfigError(
            "CURVE keys: expected both the secret key of this program (.key_secret) and the public key of "
            "the node (.key), got one of them"
        )
    return ClientKeys(secret_file, server_file)


class ServerKeys:
    """CURVE keys of a binding side: its secret key and the public keys of the clients it admits."""

    def __init__(self, secret_file: str | Path, clients_folder: str | Path) -> None:
        """Load the key and check the folder of .key files; ConfigError when either cannot be used."""
        self._public, self._secret = _load_secret(secret_file)
        self._clients_folder = Path(clients_folder).expanduser()
        if not self._clients_folder.is_dir():
            raise ConfigError(
                f"CURVE keys: {clients_folder} is no folder; `poselift keys FOLDER` makes such files"
            )
        clients = [_load(file) for file in self._clients_folder.glob("*.key")]
        if not clients:
            raise ConfigError(f"CURVE keys: no .key file in {clients_folder}, so no client could connect")

    def apply(self, socket: "zmq.Socket[bytes]", resources: ExitStack) -> None:
        """Encrypt, and admit the listed clients alone; call it before binding.

        Starts the ZAP handler's thread, which `resources` stops; the socket's context must have no other one.
        Without that handler CURVE would encrypt but admit every client.
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


class BindingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a ZeroMQ socket that binds.

    curve_secret_file: File with this node's CURVE secret key (.key_secret), to encrypt messages and to
    authenticate clients; null disables CURVE.

    curve_clients_folder: Folder with the public keys (.key) of the clients that may connect; required with
    `curve_secret_file`.

    insecure: Accept every machine of the network, unencrypted. An address that other machines can reach is
    refused without CURVE unless this is true.
    """

    curve_secret_file: str | None = None
    curve_clients_folder: str | None = None
    insecure: bool = False

    def check_binding(self, component: str, host: str) -> None:
        """Raise ConfigError for half a set of keys, or for a `host` that needs keys and has none."""
        if (self.curve_secret_file is None) != (self.curve_clients_folder is None):
            raise ConfigError(
                f"{component}: CURVE needs both curve_secret_file and curve_clients_folder; set both"
            )
        if self.curve_secret_file is None:
            require_encryption(component, host, self.insecure)

    def server_keys(self) -> ServerKeys | None:
        """The keys of the files; None without CURVE."""
        if self.curve_secret_file is None or self.curve_clients_folder is None:
            return None
        return ServerKeys(self.curve_secret_file, self.curve_clients_folder)


def require_encryption(
    component: str, host: str, insecure: bool, remedy: str = "curve_secret_file and curve_clients_folder"
) -> None:
    """Raise ConfigError when other machines reach `host` unencrypted and `insecure` does not permit it."""
    if not insecure and not is_loopback(host):
        raise ConfigError(
            f"{component}: every machine that can reach {host or '*'} could connect, unencrypted; set "
            f"{remedy}, or insecure: true to permit it"
        )


def _load_secret(file: str | Path) -> tuple[bytes, bytes]:
    """Public and secret key of a .key_secret file."""
    public, secret = _load(file)
    if secret is None:
        raise ConfigError(f"CURVE keys: {file} holds no secret key; name the .key_secret file")
    require_private(file, "CURVE keys")
    return public, secret


def _load(file: str | Path) -> tuple[bytes, bytes | None]:
    import zmq.auth
    from zmq.utils import z85

    try:
        public, secret = zmq.auth.load_certificate(Path(file).expanduser())
        for key in (public, secret):
            if key is not None and len(z85.decode(key)) != _KEY_BYTES:
                raise ValueError("a key of another length")
        return public, secret
    except Exception as error:  # pyzmq raises many types for files that hold no key
        raise ConfigError(f"CURVE keys: {file}: {error}; `poselift keys FOLDER` makes such files") from error
