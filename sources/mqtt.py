"""Keypoints of other programs over MQTT."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Literal

from sources.keypoint_receiver import DISCARD_S, KeypointReceiver
from stream import security
from stream.errors import ConfigError, PoseliftError, SourceLost, SourceUnavailable
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext
from stream.queues import DropOldestQueue
from stream.wire.schema import MAX_BYTES

QUEUE_SIZE = 64  # messages that may wait for the reader; further ones replace the oldest
BROKER_TIMEOUT_S = 5.0  # for every answer of the broker
MAX_PACKET_BYTES = MAX_BYTES + 1024  # a message with its topic


class MQTT:
    """Receives keypoints of other programs from a broker: `keypoints2d` messages, MessagePack or JSON.

    One source may deliver the keypoints of many cameras: every message keeps its own source name. Retained
    messages are ignored because their age is unknown.
    """

    live = True

    class Settings(security.BrokerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of keypoints over MQTT.

        topic: Topic to subscribe to; may contain the wildcards + and #.

        timeout_s: Seconds without a valid message after which the source counts as lost.

        version: Version of the protocol, 5 or 3 (3.1.1, for an old broker). With 5 the broker holds back
        messages above 1 MB; with 3 this node reads messages of up to 256 MB.
        """

        topic: str = "poselift/+/keypoints2d"
        timeout_s: float = 5.0
        version: Literal[5, 3] = 5

        def __post_init__(self) -> None:
            security.BrokerSettings.__post_init__(self)
            if not self.topic:
                raise ConfigError("mqtt topic: expected for example poselift/+/keypoints2d, got nothing")
            if self.timeout_s <= 0:
                raise ConfigError(f"mqtt timeout_s: expected a number above 0, got {self.timeout_s}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._url = f"mqtt://{settings.host}:{settings.port}"
        self._password = security.password(settings)
        self._tls = security.tls_context(settings)
        self._receiver = KeypointReceiver(context, settings.timeout_s)
        self._frames: DropOldestQueue[KeypointFrame] = DropOldestQueue(
            QUEUE_SIZE, on_drop=self._count_dropped
        )
        self._thread: threading.Thread | None = None
        self._cancel: Callable[[], object] = lambda: None
        self._subscribed_or_failed = threading.Event()
        self._error: PoseliftError | None = None

    def open(self) -> None:
        """Connect and subscribe. Raises SourceUnavailable, and ConfigError for an invalid topic."""
        settings = self._settings
        if settings.username and not settings.tls:
            security.warn_of_clear_password(self._context.name, self._url, settings.host)
        self._receiver.start()
        self._thread = threading.Thread(target=self._run, name=f"mqtt:{self._context.name}", daemon=True)
        self._thread.start()
        self._subscribed_or_failed.wait()
        if self._error is not None:
            self.close()
            raise self._error

    def close(self) -> None:
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # the event loop has just ended by itself
                self._cancel()
            self._thread.join(2 * BROKER_TIMEOUT_S)
            self._thread = None

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The keypoints of the next message. Raises SourceLost."""
        frame = self._frames.get(timeout_s)
        if self._receiver.paused(timeout_s):
            self._receiver.count_late(self._discard_waiting() + (frame is not None))
            return None
        if frame is not None:
            return frame
        if self._frames.drained:
            raise SourceLost(str(self._error or f"{self._url} is closed"))
        if message := self._receiver.timeout_message():
            raise SourceLost(f"{self._url}, topic {self._settings.topic}: {message}")
        return None

    def _discard_waiting(self) -> int:
        """Take and drop what waits or arrives within DISCARD_S; returns the number of messages."""
        count, clock = 0, self._context.clock
        until_ns = clock.now_ns() + round(DISCARD_S * 1e9)
        while clock.now_ns() < until_ns and self._frames.get(DISCARD_S):
            count += 1
        return count

    def _count_dropped(self, _: object) -> None:
        self._context.health.increment(self._context.name, "drop.reader_behind")

    # The network thread

    def _run(self) -> None:
        import aiomqtt

        try:
            # paho needs a loop that watches sockets; the default loop of Windows cannot.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._receive())
        except asyncio.CancelledError:
            pass
        except aiomqtt.MqttError as error:
            text = security.with_hint(error, self._settings.password_env)
            self._error = SourceUnavailable(f"{self._url}: {text}")
        except ValueError as error:  # paho rejects the topic
            self._error = ConfigError(f"{self._context.name}.topic {self._settings.topic!r}: {error}")
        finally:
            self._frames.close()
            self._subscribed_or_failed.set()

    async def _receive(self) -> None:
        import aiomqtt

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        loop.set_exception_handler(security.ignore_closed_sockets)
        assert task is not None
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        settings, count_dropped = self._settings, self._count_dropped

        class DropOldestMessages(asyncio.Queue[aiomqtt.Message]):
            """Drops the oldest message when full, and counts it; aiomqtt's own drops the newest, uncounted.

            `DropOldestQueue` hands over between threads; aiomqtt reads this queue in a coroutine.
            """

            def put_nowait(self, item: aiomqtt.Message) -> None:
                if self.full():
                    count_dropped(self.get_nowait())
                super().put_nowait(item)

        async with aiomqtt.Client(
            settings.host,
            settings.port,
            username=settings.username,
            password=self._password,
            tls_context=self._tls,
            timeout=BROKER_TIMEOUT_S,
            queue_type=DropOldestMessages,
            max_queued_incoming_messages=QUEUE_SIZE,
            **_protocol(settings.version),
        ) as client:
            await client.subscribe(settings.topic)
            self._subscribed_or_failed.set()
            async for message in client.messages:
                if message.retain:
                    self._context.health.increment(self._context.name, "drop.retained")
                elif frame := self._receiver.decode(message.payload):
                    self._frames.put(frame)


def _protocol(version: int) -> dict[str, Any]:
    """Arguments of the client that set the version and, where it can, the largest message."""
    from aiomqtt import ProtocolVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    if version == 3:
        return {"protocol": ProtocolVersion.V311}
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    return {"protocol": ProtocolVersion.V5, "properties": properties}
