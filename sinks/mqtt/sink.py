"""MQTT sink: publishes to a broker from its own thread, which reconnects until the sink is closed.

`sinks.mqtt.publications` has the topics. While the broker is away poses are dropped, not kept, because late
poses are of no use. Everything that a broker retains is published again on every connection.
"""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sinks.max_age import MaxAge
from sinks.mqtt.publication_queue import PublicationQueue, transient
from sinks.mqtt.publications import Publication, Publications
from sinks.mqtt.settings import MQTTSettings
from stream import security
from stream.clock import Backoff
from stream.errors import SinkUnavailable
from stream.messages import Message, PoseFrame
from stream.protocols import ComponentContext
from stream.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    import aiomqtt

log = logging.getLogger("poselift")

SEND_BUFFER_BYTES = 1 << 14  # the kernel's: poses that wait there are old when the broker gets them
UNANSWERED_MS = 3000  # after so long without an acknowledgement by TCP the connection counts as lost
MIN_RETRY_S, MAX_RETRY_S = 0.5, 30.0
ANSWER_TIMEOUT_S = 5.0  # how long the broker may take for each answer
KEEPALIVE_S = 15  # after a longer silence the broker counts as lost
CLOSE_GRACE_S = 0.7  # time to publish the queue and "stopped" when closing


class MQTT:
    """Keeps a connection to a broker and publishes messages on it."""

    close_timeout_s = 3 * CLOSE_GRACE_S

    Settings = MQTTSettings

    def __init__(self, settings: MQTTSettings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self.endpoint = f"mqtt://{settings.host}:{settings.port}/{settings.prefix}"
        self._password = security.password(settings)
        self._tls = security.tls_context(settings)
        discovery_prefix = settings.discovery_prefix if settings.discovery else None
        self._publications = Publications(
            *(settings.prefix, context.node, settings.format, settings.max_hz),
            *(discovery_prefix, settings.viewer_url),
        )
        max_age = None if settings.max_age_ms is None else MaxAge(settings.max_age_ms, context)
        self._queue = PublicationQueue(max_age, lambda: self._count_drops("broker_slow", 1))
        self._log = RateLimitedLog(context.clock)
        self._connected = False
        # Guards the publications, the queue, `_connected` and the health state that reports it.
        self._lock = threading.Lock()
        self._reason = "not connected yet"
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start connecting in the background; an absent broker is no error."""
        settings = self._settings
        if settings.username and not settings.tls:
            security.warn_of_clear_password(self._context.name, self.endpoint, settings.host)
        self._loop = asyncio.SelectorEventLoop()  # aiomqtt supports no other kind on every system
        self._loop.set_exception_handler(security.ignore_closed_sockets)
        self._task = self._loop.create_task(self._stay_connected())
        self._wake = asyncio.Event()  # a publication is queued, or the sink is closing
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"mqtt:{self._context.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Publish the queue and "stopped", then disconnect; takes CLOSE_GRACE_S unless the broker hangs."""
        if self._thread is None:
            return
        self._call_in_loop(self._begin_closing)
        self._thread.join(self.close_timeout_s)
        if self._thread.is_alive():
            log.warning("%s: the connection to %s did not close", self._context.name, self.endpoint)
        self._thread = None

    def send(self, message: Message) -> None:
        """Queue the publications of a message; never waits for the broker."""
        if self._thread is None:
            raise SinkUnavailable(f"{self.endpoint} is not open")
        with self._lock:
            publications = self._publications.from_message(message, self._context.clock)
            if self._connected:
                self._enqueue(publications, message if isinstance(message, PoseFrame) else None)
            else:
                self._context.health.set_state(self._context.name, "retrying", self._reason)
                self._count_drops("disconnected", transient(publications))

    def _enqueue(self, publications: list[Publication], frame: PoseFrame | None = None) -> None:
        self._queue.put(publications, frame)
        self._call_in_loop(self._wake.set)

    def _count_drops(self, reason: str, number: int) -> None:
        if number:
            self._context.health.increment(self._context.name, f"drop.{reason}", number)

    def _call_in_loop(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function)

    # Everything below runs in the connection's thread.

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass  # closed while there was no connection
        except Exception as error:
            self._reason = f"{type(error).__name__}: {error}"
            self._context.health.set_state(self._context.name, "failed", self._reason)
            log.exception("%s failed", self._context.name)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def _begin_closing(self) -> None:
        self._closing = True
        self._wake.set()
        self._loop.call_later(CLOSE_GRACE_S if self._connected else 0, self._task.cancel)

    async def _stay_connected(self) -> None:
        import aiomqtt

        settings, backoff = self._settings, Backoff(MIN_RETRY_S, MAX_RETRY_S)
        while not self._closing:
            try:
                await self._probe()
                async with aiomqtt.Client(
                    settings.host,
                    settings.port,
                    username=settings.username,
                    password=self._password,
                    tls_context=self._tls,
                    will=aiomqtt.Will(self._publications.available, b"offline", 1, True),
                    timeout=ANSWER_TIMEOUT_S,
                    keepalive=KEEPALIVE_S,
                    socket_options=_socket_options(),
                ) as client:
                    backoff.reset()
                    await self._serve(client)
            except (aiomqtt.MqttError, OSError) as error:
                delay_s = backoff.next_delay_s()
                self._report_loss(error, delay_s)
                await asyncio.sleep(delay_s)

    async def _probe(self) -> None:
        """Raise OSError unless the port accepts connections: aiomqtt's own connecting cannot be cancelled."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            _, writer = await asyncio.open_connection(self._settings.host, self._settings.port)
        writer.close()

    async def _serve(self, client: "aiomqtt.Client") -> None:
        """Publish until the connection breaks or the sink closes."""
        with self._lock:
            self._queue.drain()
            retained = self._publications.retained()
            self._connected = True
            self._context.health.set_state(self._context.name, "ok")
        log.info("%s: connected to %s", self._context.name, self.endpoint)
        tasks = [
            asyncio.create_task(self._publish(client, retained)),
            asyncio.create_task(self._listen(client)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with self._lock:
                self._connected = False
                self._count_drops("disconnected", transient(self._queue.drain()))

    async def _publish(self, client: "aiomqtt.Client", retained: list[Publication]) -> None:
        for lasting in retained:
            await client.publish(*lasting)
        while True:
            self._wake.clear()
            while (publication := self._queue.get()) is not None:
                await client.publish(*publication)
            if self._closing:
                with self._lock:
                    farewell = self._publications.stopped()
                for last in farewell:
                    await client.publish(*last)
                return
            await self._wake.wait()

    async def _listen(self, client: "aiomqtt.Client") -> None:
        """Publish the discovery again whenever Home Assistant starts; raises when the connection breaks."""
        if self._settings.discovery:
            await client.subscribe(f"{self._settings.discovery_prefix}/status")
        async for message in client.messages:
            if message.payload == b"online":
                with self._lock:
                    self._enqueue(self._publications.discovery())

    def _report_loss(self, error: Exception, delay_s: float) -> None:
        self._reason = f"{self.endpoint}: {security.with_hint(error, self._settings.password_env)}"
        self._context.health.set_state(self._context.name, "retrying", self._reason)
        self._log.warning("lost", "%s: %s; trying again in %.1f s", self._context.name, self._reason, delay_s)


def _socket_options() -> list[tuple[int, int, int]]:
    """Options of the TCP connection that keep poses from waiting in it."""
    options = [
        (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),  # or the end of a pose waits for the broker's answer
    ]
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_MS))
    return options
