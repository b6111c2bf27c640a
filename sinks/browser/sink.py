"""Browser sink: shows poses live in 3D on a web page, which it serves itself."""

import logging
from dataclasses import replace

import msgspec

from sinks.browser.access import AccessRules, resolve_token
from sinks.browser.history import History
from sinks.browser.pictures import PictureSender
from sinks.browser.server import ViewerServer
from stream.errors import ConfigError, SinkUnavailable
from stream.messages import Message, Meta, PoseFrame
from stream.protocols import ComponentContext
from stream.security import is_loopback
from stream.wire import codec as wire
from stream.wire.topics import topic_of

log = logging.getLogger("poselift")

DEFAULT_PORT = 8765


class Browser:
    """Serves the viewer's page and sends it every message, as JSON documents of the wire format."""

    close_timeout_s = 3.0

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of the viewer.

        host: Address of the interface to serve on; any but this machine's own loopback needs a token.

        port: 0 picks a free one.

        token: Secret that browsers must send to connect; ${NAME} takes it from the environment variable NAME.

        hosts: Further names under which browsers reach this machine.

        max_clients: Browsers that may be connected at once.

        max_recording_s: Longest recording that the page can download.

        picture_hz: Pictures of the camera a second, at most 5, that all people who open the page see behind
        the keypoints; 0 for none. Works for cameras that this process reads, so not with `workers`.
        """

        host: str = "127.0.0.1"
        port: int = DEFAULT_PORT
        token: str | None = None
        hosts: tuple[str, ...] = ()
        max_clients: int = 8
        max_recording_s: float = 600.0
        picture_hz: float = 0.0

        def __post_init__(self) -> None:
            if not 0 <= self.port < 65536:
                raise ConfigError(
                    f"browser port: expected 1 to 65535, or 0 for any free one, got {self.port}"
                )
            if not 1 <= self.max_clients <= 100:
                raise ConfigError(f"browser max_clients: expected 1 to 100, got {self.max_clients}")
            if not 0 < self.max_recording_s <= 7200:
                raise ConfigError(f"browser max_recording_s: expected up to 7200, got {self.max_recording_s}")
            if not 0 <= self.picture_hz <= 5:
                raise ConfigError(f"browser picture_hz: expected 0 to 5, got {self.picture_hz}")
            if self.token is None and not is_loopback(self.host):
                raise ConfigError(
                    f"browser token: other machines can reach {self.host}, so browsers need a token; set "
                    "token: ${POSELIFT_VIEW_TOKEN} and that environment variable, or host: 127.0.0.1"
                )

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._rules = AccessRules(resolve_token(settings.token), (settings.host, *settings.hosts))
        self._history = History(settings.max_recording_s)
        self._pictures = None
        if settings.picture_hz:
            self._pictures = PictureSender(settings.picture_hz, context.snapshots, context.clock)
        self._server: ViewerServer | None = None
        self.endpoint = self._address(settings.port)  # once open, with the actual port

    def open(self) -> None:
        """Serve the page; SinkUnavailable while the port is taken."""
        settings, context = self._settings, self._context
        server = ViewerServer(
            settings.host, settings.port, settings.max_clients, self._rules, self._history,
            context.name, context.health, context.clock, self._pictures,
        )  # fmt: skip
        server.start()
        self._server = server
        self.endpoint = self._address(server.port)
        if self._pictures is not None:
            log.warning(
                "%s: all people who open the page see the camera's picture (picture_hz)", context.name
            )
        if not is_loopback(settings.host):
            log.warning(
                "%s: %s is not encrypted; use it in trusted networks only", context.name, self.endpoint
            )

    def close(self) -> None:
        """Disconnect all browsers."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def send(self, message: Message) -> None:
        """Send a message of any kind to all connected browsers; SinkUnavailable when the sink is closed."""
        if self._server is None:
            raise SinkUnavailable(f"{self.endpoint} is not open")
        is_pose = isinstance(message, PoseFrame)
        if isinstance(message, Meta):
            self._history.describe(message)
        if isinstance(message, PoseFrame):
            message = wire.with_publish_time(message, self._context.clock)
            self._history.add(message)
            if not self._server.has_clients:
                return
            # The page draws joints only; rotations would double the bytes.
            persons = tuple([replace(person, rotations=None) for person in message.persons])
            message = replace(message, persons=persons)
        self._server.send(topic_of(message).decode(), wire.encode(message, "json"), is_pose)

    def _address(self, port: int) -> str:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{port}/"
