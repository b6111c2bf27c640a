"""The viewer's server: serves the page and sends messages to it, in a thread of its own.

A slow page misses its own oldest poses and delays no other. Pages send small requests only, which are defined
in `sinks.browser.client`.
"""

import asyncio
import errno
import logging
import threading
from collections.abc import Coroutine
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from sinks.browser import export
from sinks.browser.access import SUBPROTOCOL, AccessRules, bearer_token, subprotocol_token
from sinks.browser.client import Client, Export, Keep, Ping, Watch
from sinks.browser.client import Request as ClientRequest
from sinks.browser.history import History
from sinks.browser.pages import file_response, text_response
from sinks.browser.pictures import PictureSender
from stream.clock import Clock
from stream.errors import AddressInUse, PoseliftError, SinkUnavailable
from stream.health import Health

log = logging.getLogger("poselift")
_websockets_log = logging.getLogger("poselift.browser")
_websockets_log.setLevel(logging.CRITICAL)  # failed handshakes would fill the terminal

MAX_REQUEST_BYTES = 4096
HANDSHAKE_TIMEOUT_S = 5.0
PING_S = 5.0  # a page that answers no ping for this long is disconnected
WRITE_BUFFER_BYTES = 1 << 18  # per page; beyond it messages wait in the page's queue, which is bounded
CLOSE_TIMEOUT_S = 1.0
MAX_HANDSHAKES = 32  # connections that have not become a page's socket: files of the page, silent ones


class ViewerServer:
    """Serves one page to at most `max_clients` browsers."""

    def __init__(
        self, host: str, port: int, max_clients: int, rules: AccessRules, history: History,
        name: str, health: Health, clock: Clock, pictures: PictureSender | None = None,
    ) -> None:  # fmt: skip
        """pictures: shows the pages what the cameras see; None without that."""
        self.port = port
        self._host, self._max_clients, self._rules, self._history = host, max_clients, rules, history
        self._name, self._health, self._clock = name, health, clock
        self._clients: set[Client] = set()
        self._descriptions: dict[str, bytes] = {}
        self._handshakes: dict[ServerConnection, None] = {}  # in order of arrival
        self._exporting = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._server: Server | None = None
        self._pictures = pictures
        self._sending: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{name} server", daemon=True)

    @property
    def has_clients(self) -> bool:
        """Whether any page is connected."""
        return bool(self._clients)

    def start(self) -> None:
        """Bind the port; SinkUnavailable while it is taken."""
        self._thread.start()
        try:
            self._wait_for(self._start(), 5.0)
        except OSError as error:
            self.close()
            kind = AddressInUse if error.errno == errno.EADDRINUSE else SinkUnavailable
            raise kind(
                f"port {self.port} of {self._host} cannot be bound: {error.strerror}; end the program that "
                "uses it or set another port"
            ) from error

    def close(self) -> None:
        """Disconnect all pages and release the port; closing twice is harmless."""
        if self._loop.is_closed():
            return
        if self._server is not None:
            with suppress(TimeoutError):
                self._wait_for(self._stop(), 2 * CLOSE_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_TIMEOUT_S)
        if not self._thread.is_alive():
            self._loop.close()

    def send(self, topic: str, data: bytes, is_pose: bool) -> None:
        """Queue a message for every page; may be called from any thread."""
        self._loop.call_soon_threadsafe(self._put, topic, data, is_pose)

    def _wait_for(self, coroutine: Coroutine[Any, Any, None], timeout_s: float) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    # In the server's thread

    async def _start(self) -> None:
        self._server = await serve(
            self._serve_client,
            self._host,
            self.port,
            process_request=self._process_request,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            create_connection=self._connection_class(),
            compression=None,  # deflating costs more time than loopback and Wi-Fi save
            server_header=None,
            open_timeout=HANDSHAKE_TIMEOUT_S,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_REQUEST_BYTES,
            max_queue=4,
            write_limit=WRITE_BUFFER_BYTES,
            logger=_websockets_log,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        if self._pictures is not None:
            self._sending = asyncio.create_task(self._pictures.run(self._clients, self._history.has_source))

    async def _stop(self) -> None:
        assert self._server is not None
        if self._sending is not None:
            self._sending.cancel()
        self._server.close(reason="the viewer's server ends")
        await self._server.wait_closed()

    def _connection_class(self) -> type[ServerConnection]:
        """Connections of which only so many may be in their handshake: the oldest of them is dropped."""
        handshakes = self._handshakes

        class LimitedConnection(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                handshakes[self] = None
                if len(handshakes) > MAX_HANDSHAKES:
                    oldest = next(iter(handshakes))
                    del handshakes[oldest]
                    oldest.transport.abort()

            def connection_lost(self, exc: Exception | None) -> None:
                handshakes.pop(self, None)
                super().connection_lost(exc)

        return LimitedConnection

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to an HTTP request; None to go on with a socket's handshake."""
        host = _header(request.headers, "Host")
        path = request.path.partition("?")[0]
        if not self._rules.allows_host(host):
            return text_response(
                HTTPStatus.MISDIRECTED_REQUEST,
                "This viewer is reached by its IP address, by localhost or by a name in its setting `hosts`.",
            )
        if path == "/socket":
            return self._refuse_socket(request.headers, host)
        if path == "/access":
            return self._access(bearer_token(_header(request.headers, "Authorization")))
        return file_response(path)

    def _refuse_socket(self, headers: Headers, host: str) -> Response | None:
        if not self._rules.allows_origin(_header(headers, "Origin"), host):
            return text_response(HTTPStatus.FORBIDDEN, "Only this server's own page may connect.")
        answer = self._access(subprotocol_token(_header(headers, "Sec-WebSocket-Protocol")))
        return None if answer.status_code == HTTPStatus.OK else answer

    def _access(self, token: str | None) -> Response:
        if not self._rules.allows_token(token):
            return text_response(HTTPStatus.UNAUTHORIZED, "The viewer needs its token.")
        if len(self._clients) >= self._max_clients:
            return text_response(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"Already {self._max_clients} browsers are connected, which is the limit (max_clients).",
            )
        return text_response(HTTPStatus.OK, "ok")

    async def _serve_client(self, connection: ServerConnection) -> None:
        self._handshakes.pop(connection, None)
        if len(self._clients) >= self._max_clients:  # two handshakes at once
            await connection.close(1013, "too many viewers")
            return
        client = Client(connection)
        self._clients.add(client)
        try:
            await client.answer(self._hello())
            for topic, data in self._descriptions.items():
                client.put(topic, data, is_pose=False)
            await client.run(self._handle)
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)
            self._update_keep()

    def _hello(self) -> dict[str, object]:
        return {
            "schema": "viewer",
            "formats": export.FORMATS,
            "unix_ms": self._clock.unix_ns() / 1e6,
            "pictures": self._pictures is not None,
        }

    def _put(self, topic: str, data: bytes, is_pose: bool) -> None:
        if not is_pose:
            self._descriptions[topic] = data
        for client in self._clients:
            if not client.put(topic, data, is_pose):
                self._health.increment(self._name, "drop.viewer_slow")

    async def _handle(self, client: Client, request: ClientRequest) -> None:
        match request:
            case Ping(sent):
                await client.answer({"schema": "pong", "sent": sent, "unix_ms": self._clock.unix_ns() / 1e6})
            case Keep(from_ms):
                client.keep_from_ms = from_ms
                self._update_keep()
            case Watch(source):
                client.watched = source
            case Export() if client.exporting is None or client.exporting.done():
                client.exporting = asyncio.create_task(self._export(client, request))
            case Export(format):
                reason = "another file is being made"
                await client.answer({"schema": "file", "error": reason, "format": format})

    def _update_keep(self) -> None:
        times = [client.keep_from_ms for client in self._clients if client.keep_from_ms is not None]
        self._history.keep_from(min(times, default=None))

    async def _export(self, client: Client, request: Export) -> None:
        frames, metas = self._history.between(request.from_ms, request.to_ms, request.source)
        document: dict[str, object] = {"schema": "file", "format": request.format}
        with suppress(ConnectionClosed):
            try:
                async with self._exporting:  # one at a time, so that pages cannot fill the memory
                    suffix, body = await asyncio.to_thread(export.export, request.format, frames, metas)
            except PoseliftError as error:
                await client.answer(document | {"error": str(error)})
            else:
                await client.answer(document | {"suffix": suffix, "bytes": len(body)}, body)


def _header(headers: Headers, name: str) -> str:
    """The value of a header; "" when it is missing, several joined by commas."""
    return ", ".join(headers.get_all(name))
