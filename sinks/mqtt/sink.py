"""Publishes to an MQTT broker, from a thread of its own that connects again for as long as it takes.

`sinks.mqtt_feed` draws the topics. While the broker is away poses are dropped, not kept: nobody
wants to see them late. What brokers retain is published again on every connection.
"""

import asyncio
import contextlib
import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from sinks.mqtt.publications import Publication, Publications
from stream import security as broker
from stream.errors import ConfigError, SinkUnavailable
from stream.messages import Message
from stream.protocols import ComponentContext

if TYPE_CHECKING:
    import aiomqtt

log = logging.getLogger("poselift")

_QUEUED = 64  # publications between `send` and the broker; the oldest goes when there are more
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_ANSWER_S = 5.0  # how long the broker may take for each answer
_KEEPALIVE_S = 15  # a broker that is silent for longer is gone
_LAST_WORDS_S = 0.7  # for what is queued and "stopped" when closing


class MQTT:
    """Keeps a connection to a broker and publishes on it."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of poses over MQTT.

        host: Host name or address of the broker.

        port: TCP port of the broker; 8883 is usual with TLS.

        prefix: First part of all topics. Nodes at the same broker need different prefixes.

        format: Encoding of poses, json or msgpack; all other messages are JSON.

        max_hz: Maximum number of poses per second and source.

        username: User name at the broker; null connects without one.

        password_env: Environment variable that holds the password.

        tls: Encrypt the connection and verify the broker's certificate.

        ca_file: PEM file of the authority that signed the broker's certificate; null trusts the system's
        authorities.

        discovery: Announce the node to Home Assistant.

        discovery_prefix: Topic prefix at which Home Assistant expects announcements.
        """

        host: str = "127.0.0.1"
        port: int = 1883
        prefix: str = "poselift"
        format: Literal["json", "msgpack"] = "json"
        max_hz: float = 10.0
        username: str | None = None
        password_env: str = "POSELIFT_MQTT_PASSWORD"
        tls: bool = False
        ca_file: str | None = None
        discovery: bool = False
        discovery_prefix: str = "homeassistant"

        def __post_init__(self) -> None:
            if not 0 < self.port < 65536:
                raise ConfigError(f"mqtt port: expected 1 to 65535, got {self.port}")
            if not 0 < self.max_hz <= 1000:
                raise ConfigError(f"mqtt max_hz: expected above 0 and at most 1000, got {self.max_hz}")
            for name, prefix in (("prefix", self.prefix), ("discovery_prefix", self.discovery_prefix)):
                if not prefix or prefix[0] in "/$" or prefix[-1] == "/" or set(prefix) & set("+#\0"):
                    raise ConfigError(
                        f"mqtt {name}: expected the beginning of a topic, such as poselift or home/poselift, "
                        f"without + and #, got {prefix!r}"
                    )

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self.endpoint = f"mqtt://{settings.host}:{settings.port}/{settings.prefix}"
        self._password = broker.password(settings.username, settings.password_env)
        self._tls = broker.tls_context(settings.tls, settings.ca_file)
        discovery = settings.discovery_prefix if settings.discovery else None
        self._feed = Publications(settings.prefix, context.node, settings.format, settings.max_hz, discovery)
        self._queue: deque[Publication] = deque()
        self._connected = False
        self._lock = threading.Lock()  # of feed, queue, connected, and the state that says so
        self._why = "not connected yet"
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        settings = self._settings
        if settings.username and not settings.tls:
            broker.warn_of_clear_password(self._context.name, self.endpoint, settings.host)
        self._loop = asyncio.SelectorEventLoop()  # the only kind the library works on everywhere
        self._task = self._loop.create_task(self._stay_connected())
        self._wake = asyncio.Event()  # something is queued, or we are closing
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"mqtt:{self._context.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread is None:
            return
        self._call(self._close)
        self._thread.join(3 * _LAST_WORDS_S)
        if self._thread.is_alive():
            log.warning("%s: %s does not let go", self._context.name, self.endpoint)
        self._thread = None

    def send(self, message: Message) -> None:
        """Queue what the message gives cause to publish; never waits for the broker."""
        if self._thread is None:
            raise SinkUnavailable(f"{self.endpoint} is not open")
        with self._lock:
            publications = self._feed.publications(message, self._context.clock)
            connected = self._connected
            if connected:
                self._queue.extend(publications)
            else:
                self._context.health.set_state(self._context.name, "retrying", self._why)
            too_many = max(0, len(self._queue) - _QUEUED)
            for _ in range(too_many):
                self._queue.popleft()
        if connected:
            self._dropped("broker_slow", too_many)
            self._call(self._wake.set)
        else:
            self._dropped("disconnected", sum(not each.retain for each in publications))

    def _dropped(self, why: str, number: int) -> None:
        if number:
            self._context.health.increment(self._context.name, f"drop.{why}", number)

    def _call(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function)

    # From here on, in the connection's thread

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass  # closed while there was no connection
        except Exception as error:
            self._why = f"{type(error).__name__}: {error}"
            self._context.health.set_state(self._context.name, "failed", self._why)
            log.exception("%s failed", self._context.name)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def _close(self) -> None:
        self._closing = True
        self._wake.set()
        self._loop.call_later(_LAST_WORDS_S if self._connected else 0, self._task.cancel)

    async def _stay_connected(self) -> None:
        import aiomqtt

        settings, wait_s = self._settings, _FIRST_WAIT_S
        while not self._closing:
            try:
                await self._reach()
                async with aiomqtt.Client(
                    settings.host,
                    settings.port,
                    username=settings.username,
                    password=self._password,
                    tls_context=self._tls,
                    will=aiomqtt.Will(self._feed.available, b"offline", 1, True),
                    timeout=_ANSWER_S,
                    keepalive=_KEEPALIVE_S,
                ) as client:
                    wait_s = _FIRST_WAIT_S
                    await self._serve(client)
            except (aiomqtt.MqttError, OSError) as error:
                self._lost(error, wait_s)
                await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _reach(self) -> None:
        """See whether somebody answers: the library's own connecting cannot be interrupted."""
        async with asyncio.timeout(_ANSWER_S):
            _, writer = await asyncio.open_connection(self._settings.host, self._settings.port)
        writer.close()

    async def _serve(self, client: "aiomqtt.Client") -> None:
        """Publish until the connection breaks or we are closing."""
        with self._lock:
            self._queue.clear()
            self._queue.extend(self._feed.retained())
            self._connected = True
            self._context.health.set_state(self._context.name, "ok")
        log.info("%s: connected to %s", self._context.name, self.endpoint)
        tasks = [asyncio.create_task(self._publish(client)), asyncio.create_task(self._listen(client))]
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
                left = sum(not each.retain for each in self._queue)
                self._queue.clear()
            self._dropped("disconnected", left)

    async def _publish(self, client: "aiomqtt.Client") -> None:
        while True:
            self._wake.clear()
            while (publication := self._next()) is not None:
                await client.publish(*publication)
            if self._closing:
                await client.publish(self._feed.available, b"stopped", 1, True)
                return
            await self._wake.wait()

    def _next(self) -> Publication | None:
        with self._lock:
            return self._queue.popleft() if self._queue else None

    async def _listen(self, client: "aiomqtt.Client") -> None:
        """Tell Home Assistant again when it has started; ends with an error when the connection does."""
        if self._settings.discovery:
            await client.subscribe(f"{self._settings.discovery_prefix}/status")
        async for message in client.messages:
            if message.payload == b"online":
                with self._lock:
                    self._queue.extend(self._feed.discovery())
                self._wake.set()

    def _lost(self, error: Exception, wait_s: float) -> None:
        self._why = f"{self.endpoint}: {broker.with_hint(error, self._settings.password_env)}"
        self._context.health.set_state(self._context.name, "retrying", self._why)
        log.warning("%s: %s; trying again in %.1f s", self._context.name, self._why, wait_s)
