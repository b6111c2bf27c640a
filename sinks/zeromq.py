"""Publishes over ZeroMQ: two parts, [topic, MessagePack document], to whoever subscribes.

With CURVE everything is encrypted and only clients whose public keys lie in a folder are let in:
`python -c "import zmq.auth; zmq.auth.create_certificates('keys', 'robot')"` makes a pair of files.
"""

import ipaddress
import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from stream.errors import ConfigError, SinkUnavailable
from stream.messages import Message, PoseFrame
from stream.protocols import ComponentContext
from stream.wire import codec as wire
from stream.wire.topics import topic_of

if TYPE_CHECKING:
    import zmq

log = logging.getLogger("poselift")

_PATIENCE_MS = 20  # how long a full queue is waited for before a message is dropped
_LAST_WORDS_MS = 200  # how long closing may take to let out what is already queued


class ZeroMQ:
    """A PUB socket that waits for nobody: a subscriber who is slow misses messages, the others do not."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of poses over ZeroMQ.

        host: Address of the network interface to publish on; "0.0.0.0" publishes on all.

        port: TCP port; 0 picks a free one.

        queue: Messages kept for a subscriber that is slow; further ones are dropped for it.

        curve_secret_file: File with the node's CURVE secret key (.key_secret), to encrypt messages and to
        authenticate clients; null disables CURVE.

        curve_clients_folder: Folder with the public keys (.key) of the clients that may subscribe; required
        with `curve_secret_file`.
        """

        host: str = "127.0.0.1"
        port: int = 5555
        queue: int = 8
        curve_secret_file: str | None = None
        curve_clients_folder: str | None = None

        def __post_init__(self) -> None:
            if not 0 <= self.port < 65536:
                raise ConfigError(f"zeromq port: expected 1 to 65535, or 0 for any free one, got {self.port}")
            if self.queue < 1:
                raise ConfigError(f"zeromq queue: expected a number from 1, got {self.queue}")
            if (self.curve_secret_file is None) != (self.curve_clients_folder is None):
                raise ConfigError(
                    "zeromq: CURVE needs both curve_secret_file and curve_clients_folder; set both"
                )

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._socket: zmq.Socket[bytes] | None = None
        self._open = ExitStack()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.endpoint = f"tcp://{host}:{settings.port}"  # once open, with the port that was got

    def __enter__(self) -> Self:
        import zmq

        settings = self._settings
        with ExitStack() as opened:
            context = zmq.Context()
            opened.callback(context.term)
            socket = context.socket(zmq.PUB)
            opened.callback(socket.close, linger=_LAST_WORDS_MS)
            socket.set(zmq.SNDHWM, settings.queue)
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.IPV6, int(":" in settings.host))
            socket.set(zmq.HEARTBEAT_IVL, 2000)  # ms; notices a subscriber whose machine is gone
            socket.set(zmq.HEARTBEAT_TIMEOUT, 6000)
            socket.set(zmq.XPUB_NODROP, 1)  # a full queue is told, so that `send` can count it
            if settings.curve_secret_file and settings.curve_clients_folder:
                _guard(socket, settings.curve_secret_file, settings.curve_clients_folder, opened)
            elif not _is_loopback(settings.host):
                log.warning(
                    "%s: everybody who reaches %s can see the poses; set curve_secret_file and "
                    "curve_clients_folder to choose who may",
                    self._context.name,
                    self.endpoint,
                )
            self._bind(socket)
            self._socket, self._open = socket, opened.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket = None
        self._open.close()

    def send(self, message: Message) -> None:
        import zmq

        if self._socket is None:
            raise SinkUnavailable(f"{self.endpoint} is not open")
        if isinstance(message, PoseFrame):
            message = wire.with_publish_time(message, self._context.clock)
        parts = [topic_of(message), wire.encode(message)]
        # A burst can outrun the thread that empties the queues; give it some milliseconds.
        for _ in range(_PATIENCE_MS):
            if self._try(parts):
                return
            time.sleep(0.001)
        # Somebody is too slow. Those who keep up get the message nevertheless. Until that one has caught up
        # ZeroMQ says nothing more, so this counts the times, and gaps in `seq` the messages.
        self._context.health.increment(self._context.name, "drop.subscriber_slow")
        self._socket.set(zmq.XPUB_NODROP, 0)
        self._try(parts)
        self._socket.set(zmq.XPUB_NODROP, 1)

    def _try(self, parts: list[bytes]) -> bool:
        import zmq

        assert self._socket is not None
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _bind(self, socket: "zmq.Socket[bytes]") -> None:
        import zmq

        host, port = self.endpoint.rsplit(":", 1)
        try:
            socket.bind(f"{host}:{'*' if port == '0' else port}")
        except zmq.ZMQError as error:
            if error.errno in (zmq.EADDRINUSE, zmq.EADDRNOTAVAIL):
                raise SinkUnavailable(
                    f"port {port} of {self._settings.host} cannot be had: {error.strerror}; end the program "
                    "that has it (another node?) or set another port"
                ) from error
            raise ConfigError(
                f"{self._context.name}: expected the address of one of this machine's interfaces as host, "
                f"got {self._settings.host!r}: {error.strerror}"
            ) from error
        self.endpoint = str(socket.get_string(zmq.LAST_ENDPOINT)).rstrip("\0")


def _guard(socket: "zmq.Socket[bytes]", secret_file: str, clients_folder: str, opened: ExitStack) -> None:
    """Encrypt, and let in only the clients whose keys are in the folder; without it CURVE lets in all."""
    import zmq.auth
    from zmq.auth.thread import ThreadAuthenticator

    try:
        public, secret = zmq.auth.load_certificate(Path(secret_file).expanduser())
        clients = zmq.auth.load_certificates(Path(clients_folder).expanduser())
    except (OSError, ValueError) as error:
        raise ConfigError(f"CURVE keys: {error}; zmq.auth.create_certificates makes such files") from error
    if secret is None:
        raise ConfigError(f"CURVE keys: {secret_file} holds no secret key; name the .key_secret file")
    if not clients:
        raise ConfigError(f"CURVE keys: no .key file in {clients_folder}, so nobody could subscribe")
    guard = ThreadAuthenticator(socket.context)
    guard.start()
    guard.thread.name = "zeromq guard"
    opened.callback(guard.stop)
    guard.configure_curve(domain="*", location=Path(clients_folder).expanduser())
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_PUBLICKEY, public)
    socket.set(zmq.CURVE_SECRETKEY, secret)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
